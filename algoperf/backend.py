"""The contract between the harness and a framework, and the one place that loads a framework.

A backend never names a workload, and a workload never places data or writes a loop. There are
three implementations: `jax_backend`, `pytorch_backend`, and a numpy one in `tests/toy/`.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from algoperf import spec
from algoperf.definition import WorkloadDefinition
from algoperf.errors import MissingDependency
from algoperf.frameworks import check_framework
from algoperf.probe import Objective, Probe
from algoperf.processes import Processes

Arrays = Mapping[str, np.ndarray]


class MetricsModule(Protocol):
    """`metrics.py` of a workload: which metrics of which outputs, and a loss of its own.

    `outputs(xp, logits, batch, per_example)` reduces logits on the device, unless the model
    has `outputs`; `summarise(outputs)` makes a split's metrics of the outputs of its batches, or
    `summariser(data_folder)` returns such a function. Where the loss type is `MODEL_DEFINED`,
    `example_losses(xp, labels, logits)` returns the loss of each example, [batch, ...].
    """


class ModelModule(Protocol):
    """`model_jax.py` or `model_pytorch.py` of a workload.

    Optional in both: `parameter_loss(params, config)`, a scalar (or None) that is added to the
    mean of the examples' losses (in PyTorch `params` is the module); `initial_carry(config)`, numpy
    arrays by name that the forward pass gets as the model state's `carry`, returns changed,
    and gets back with the next batch. Their leading axis, of length 0 at first, becomes the
    batch's. A batch says itself where the carry starts anew.
    """

    def build(self, config: Any) -> Any:
        """The framework's module for the definition's `model`."""
        ...


class BoundModel(Protocol):
    """A workload's model in one framework, on the devices: what `Workload` delegates to."""

    param_shapes: spec.ParameterShapeTree
    param_types: spec.ParameterTypeTree

    def is_output_param(self, key: str) -> bool:
        """Whether `key` names the output layer, or a parameter of it."""
        ...

    def init(self, rng: spec.RandomState) -> spec.ModelInitState:
        """New parameters and model state, replicated on all devices."""
        ...

    def forward(
        self,
        params: Any,
        batch: spec.Batch,
        model_state: Any,
        mode: spec.ForwardPassMode,
        rng: spec.RandomState,
        update_batch_norm: bool,
        dropout_rate: Any,
    ) -> tuple[Any, Any]:
        """`Workload.model_fn`; `dropout_rate` is a float or a traced scalar."""
        ...

    def check_params(self, params: Any) -> None:
        """Raises `BadSubmission` unless `params` have the names and shapes of the model."""
        ...

    def isolate(self, params: Any, model_state: Any) -> tuple[Any, Any]:
        """What is evaluated: copies of the values, held by fixed code and plain containers.

        Nothing that a submission has attached to what it returned (hooks, patched methods,
        classes of its own) survives.
        """
        ...

    def loss(
        self, labels: Any, logits: Any, mask: Any | None, label_smoothing: float
    ) -> dict[str, Any]:
        """`Workload.loss_fn`."""
        ...

    def without_carry(self, model_state: Any) -> Any:
        """The model state at the start of a pass: what is carried between batches is new."""
        ...

    def evaluate(
        self, params: Any, model_state: Any, batch: spec.Batch, key: Any = None
    ) -> tuple[Arrays, Any]:
        """One placed evaluation batch to numpy outputs of the *global* batch, and a state.

        The state is the model state with what it carries to the next batch. key: where the
        definition says that it draws in evaluation.

        Every array has a leading axis: examples in the order of the global batch, or one
        partial sum per process. The arrays are what the workload's `metrics.summarise` takes.
        """
        ...


class Backend(Protocol):
    """What the harness needs of a framework."""

    name: str  # "jax", "pytorch"
    rank: int  # of this process
    num_processes: int
    num_devices: int  # over all processes; a global batch is divided by it
    processes: Processes

    def describe_devices(self) -> dict[str, Any]:
        """Kind, count and memory of the devices, and the framework's versions and flags."""
        ...

    def device_memory_bytes(self) -> int | None:
        """Bytes in use on this process's fullest device; None where nobody counts them."""
        ...

    def process_settings(self) -> dict[str, Any]:
        """Settings of the framework that could change an evaluation, by name.

        Left out is what a submission may set. Values may be words for what matters of them.
        """
        ...

    def warm_up(self) -> None:
        """Does what the framework does once per process, such as lazy imports and pools.

        Called in set-up, so that no submission pays for it. Changes no random state.
        """
        ...

    def seed(self, seed: int) -> None:
        """Seeds the framework's global generators; nothing where it has none."""
        ...

    def rng_state(self) -> dict[str, np.ndarray]:
        """The state of the framework's global generators."""
        ...

    def set_rng_state(self, state: Arrays) -> None:
        """The inverse of `rng_state`."""
        ...

    def keys(self, numbers: np.ndarray) -> Sequence[spec.RandomState]:
        """Random states from uint32 [n, 2]; cheap per key, so that steps need no dispatch."""
        ...

    def place(self, batch: Arrays) -> spec.Batch:
        """This process's part of a global batch, from numpy to its devices."""
        ...

    def bind(
        self,
        definition: WorkloadDefinition,
        model: ModelModule,
        metrics: MetricsModule,
    ) -> BoundModel:
        """The model of `model_jax.py` or `model_pytorch.py` with the definition's config.

        The optional `model.forward` and `model.outputs` replace the default call and the
        default evaluation; `metrics.outputs` is written once against the array API standard
        (`xp` is the namespace).
        """
        ...

    def output_activation(self, loss_type: spec.LossType, logits: Any) -> Any:
        """Softmax (also for CTC), sigmoid or identity."""
        ...

    def synchronize(self, *trees: Any) -> None:
        """Returns when all work enqueued on the devices, `trees` included, is done."""
        ...

    def probe(self, objective: Objective) -> Probe:
        """What takes derivatives of the objective's loss, for instruments."""
        ...

    def is_finite(self, params: Any) -> bool:
        """Whether every parameter is finite; synchronises."""
        ...

    def to_leaves(self, tree: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by path, and the structure as JSON; see `leaves` for what a tree may hold.

        `needs` in the JSON says what only a template has, by path.
        """
        ...

    def from_leaves(
        self, template: Any, arrays: Arrays, rest: Mapping[str, Any]
    ) -> Any:
        """The tree that was saved, bit for bit; in the objects of `template` where they fit.

        Its structure may be another than the template's. What cannot be made again is refused
        with `BadCheckpoint`.
        """
        ...

    def close(self) -> None:
        """Releases process groups."""
        ...


def load(framework: str, **options: Any) -> Backend:
    """The backend of that name: the one place where a framework is imported."""
    known = check_framework(framework)
    try:
        module = importlib.import_module(known.module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("algoperf"):
            raise
        raise MissingDependency(
            f"Framework {framework!r} needs the package {error.name!r}, which is not "
            f"installed. Install it: pip install 'algoperf[{known.extra}]'."
        ) from None
    backend: Backend = module.make_backend(**options)
    return backend
