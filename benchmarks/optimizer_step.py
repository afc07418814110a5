"""Milliseconds of a training step that is almost only the optimizer, per algorithm.

`python benchmarks/optimizer_step.py jax|pytorch [--algorithms NAME ...] [--layers 24]
[--width 1024] [--steps 5] [--clock wall|cpu]`

The model is `layers` square matrices of `width` with a bias each (25.2 million parameters
by default) whose loss is the scalar product with given gradients: it costs next to
nothing. Steps run through the shared training step, as in a trial. The ratio is to plain
gradient descent, measured in the same run. Steps of Distributed Shampoo and SOAP that
take new roots or bases are reported apart, and as their share of every step. On a busy
machine, `--clock cpu` counts the process's time on all cores instead of the wall clock's.
"""

import argparse
import collections
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from algoperf import registry, spec

# Steps between those that take new roots or bases.
PERIODS = {"distributed_shampoo": 20, "soap": 10}
STEP_HINT = 1_000_000


class GradientsGiven:
    """A workload whose gradients are given, as far as a training step needs one."""

    loss_type = spec.LossType.MEAN_SQUARED_ERROR
    step_hint = STEP_HINT
    metrics_logger = None

    def __init__(self, names: list[str], items: Callable[[Any], Any]) -> None:
        self.model_params_types = {
            name: spec.ParameterType.BIAS
            if "bias" in name
            else spec.ParameterType.WEIGHT
            for name in names
        }
        self._items = items

    def is_output_params(self, key: str) -> bool:
        """No parameter is of the output layer."""
        return False

    def model_fn(
        self, params: Any, batch: Any, model_state: Any, *_: Any, **__: Any
    ) -> tuple[Any, Any]:
        """One logit: the sum of products of parameters and gradients."""
        inputs = batch["inputs"]
        products = [(p * inputs[name]).sum() for name, p in self._items(params)]
        return sum(products)[None], model_state

    def loss_fn(self, label_batch: Any, logits_batch: Any, **_: Any) -> dict[str, Any]:
        """The logit itself."""
        loss = logits_batch.sum()
        return {"summed": loss, "n_valid_examples": 1, "per_example": logits_batch}


def arrays(layers: int, width: int, seed: int) -> dict[str, np.ndarray]:
    """float32 by name: [width, width] weights and [width] biases."""
    rng = np.random.default_rng(seed)
    shapes = {
        f"{kind}_{i}": shape
        for i in range(layers)
        for kind, shape in (("weight", (width, width)), ("bias", (width,)))
    }
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def constant_rate(point: Any, step_hint: int) -> Any:
    """The schedule of plain descent: 1e-3 at every step."""
    del point, step_hint
    return lambda step, xp=np: 1e-3


def jax_setup(layers: int, width: int) -> tuple[Any, ...]:
    """Workload, maker of parameters, batch, plain descent, and waiting for a result."""
    import jax
    import optax

    from algoperf.jax_sharding_utils import replicate
    from algoperf.reference_algorithms._shared import factory_jax

    values = arrays(layers, width, 0)
    workload: Any = GradientsGiven(list(values), lambda params: params.items())
    batch = {"inputs": replicate(arrays(layers, width, 1)), "targets": None}

    def make_params() -> Any:
        return replicate(values)

    plain = factory_jax.submission(
        lambda setup: optax.sgd(setup.rate), schedule=constant_rate
    )
    return workload, make_params, batch, plain, jax.block_until_ready


def pytorch_setup(layers: int, width: int) -> tuple[Any, ...]:
    """The same for PyTorch; on the GPU if there is one."""
    import torch

    from algoperf.reference_algorithms._shared import factory_pytorch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    values = arrays(layers, width, 0)
    workload: Any = GradientsGiven(list(values), lambda model: model.named_parameters())
    inputs = {
        n: torch.from_numpy(x).to(device) for n, x in arrays(layers, width, 1).items()
    }

    def make_params() -> Any:
        model = torch.nn.Module()
        for name, value in values.items():
            parameter = torch.nn.Parameter(torch.tensor(value, device=device))
            model.register_parameter(name, parameter)
        return model

    def wait(_: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    batch = {"inputs": inputs, "targets": None}
    plain = factory_pytorch.submission(
        lambda setup: torch.optim.SGD(setup.params.parameters(), lr=1.0, fused=True),
        schedule=constant_rate,
    )
    return workload, make_params, batch, plain, wait


def hyperparameters(algorithm: str) -> Any:
    """A point of the algorithm's own space: the first of each dimension."""
    folder = registry.wing_folder("reference_algorithms") / algorithm
    space = json.loads((folder / "tuning_search_space.json").read_text())
    if isinstance(space, list):
        point = space[0]
    else:
        point = {
            name: d["feasible_points"][0] if "feasible_points" in d else d["min"]
            for name, d in space.items()
        }
    return collections.namedtuple("Hyperparameters", point)(**point)


def milliseconds(
    setup: tuple[Any, ...],
    algorithm: str | None,
    framework: str,
    num_steps: int,
    now: Callable[[], float],
) -> list[float]:
    """Of each step after the first, which compiles; plain descent if no algorithm."""
    workload, make_params, batch, functions, wait = setup
    params, point = make_params(), None
    if algorithm is not None:
        name = f"algoperf.reference_algorithms.{algorithm}.submission_{framework}"
        functions, point = importlib.import_module(name), hyperparameters(algorithm)
    state = functions.init_optimizer_state(workload, params, None, point, None)
    seconds = []
    for step in range(1, num_steps + 2):
        start = now()
        state, params, _ = functions.update_params(
            workload=workload,
            current_param_container=params,
            current_params_types=workload.model_params_types,
            model_state=None,
            hyperparameters=point,
            batch=batch,
            loss_type=workload.loss_type,
            optimizer_state=state,
            eval_results=[],
            global_step=step,  # not 0, whose scalars would be read
            rng=np.zeros(2, np.uint32),
        )
        wait((state[0], params) if framework == "jax" else None)
        seconds.append(now() - start)
    return [1e3 * x for x in seconds[1:]]


def report(name: str, times: list[float], plain: float) -> None:
    """One line: median, ratio, and the share of the steps that stand out."""
    usual = statistics.median(times)
    line = f"{name:22} {usual:10.1f} ms {usual / plain:8.1f} x plain descent"
    if name in PERIODS:
        period = PERIODS[name]
        more = times[period - 1] - usual
        amortised = usual + more / period
        line += f"; {more:.1f} ms more every {period}: {amortised:.1f} ms a step"
        line += f", {amortised / plain:.1f} x"
    print(line, flush=True)


def main() -> None:
    """Prints a line per algorithm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=["jax", "pytorch"])
    known = registry.folders("reference_algorithms")
    parser.add_argument("--algorithms", nargs="+", choices=known, default=known)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    now = time.perf_counter if options.clock == "wall" else time.process_time
    make = jax_setup if options.framework == "jax" else pytorch_setup
    setup = make(options.layers, options.width)
    num_parameters = options.layers * (options.width + 1) * options.width
    print(f"{options.framework}, {num_parameters / 1e6:.1f} million parameters")
    num_steps = max(options.steps, 10)
    times = milliseconds(setup, None, options.framework, num_steps, now)
    plain = statistics.median(times)
    report("plain descent", times, plain)
    for algorithm in options.algorithms:
        # The last step of a period takes new roots or bases.
        num_steps = PERIODS.get(algorithm, options.steps)
        times = milliseconds(setup, algorithm, options.framework, num_steps, now)
        report(algorithm, times, plain)


if __name__ == "__main__":
    main()
