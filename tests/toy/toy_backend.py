"""A backend in numpy: one process, one device, and work that is enqueued until waited for.

Parameters are dicts of arrays. `Device.enqueue` stands for asynchronous dispatch: the work
takes time (on the fake clock) only when somebody waits for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algoperf import parameter_loss, spec
from algoperf.backend import MetricsModule, ModelModule
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSubmission
from algoperf.leaves import Reader, Writer
from algoperf.parameter_loss import WithParameterLoss
from algoperf.processes import OneProcess


@dataclass
class Device:
    """Work that was enqueued and not waited for yet."""

    pending: list[Callable[[], None]] = field(default_factory=list)

    def enqueue(self, work: Callable[[], None]) -> None:
        """Returns at once; `work` runs when somebody waits."""
        self.pending.append(work)

    def wait(self) -> None:
        """Runs all pending work."""
        while self.pending:
            self.pending.pop(0)()


DEVICE = Device()
SETTINGS = {
    "default dtype": "float64"
}  # stands for a framework's process-wide settings


class ToyModel:
    """A linear classifier: logits = inputs @ weight + bias; or the model file's `forward`."""

    def __init__(
        self, definition: WorkloadDefinition, model: ModelModule, metrics: MetricsModule
    ):
        self._definition = definition
        self._config = definition.model
        self._model: Any = model
        self._metrics: Any = metrics
        shapes = {name: value.shape for name, value in self._init_zeros().items()}
        self.param_shapes = {
            name: spec.ShapeTuple(shape) for name, shape in shapes.items()
        }
        bias, weight = spec.ParameterType.BIAS, spec.ParameterType.WEIGHT
        self.param_types = {name: bias if name == "bias" else weight for name in shapes}

    def _init_zeros(self) -> dict[str, np.ndarray]:
        return self._model.build(self._config)

    def is_output_param(self, key: str) -> bool:
        return key in self.param_shapes

    def init(self, rng: Any) -> tuple[dict[str, np.ndarray], None]:
        random = np.random.default_rng(np.asarray(rng))
        params = self._init_zeros()
        return {
            name: value + 0.01 * random.standard_normal(value.shape)
            for name, value in params.items()
        }, self.without_carry(None)

    def forward(
        self, params, batch, model_state, mode, rng, update_batch_norm, dropout_rate
    ):
        if not hasattr(self._model, "forward"):
            return batch["inputs"] @ params["weight"] + params["bias"], model_state
        carry = model_state["carry"] if self._has_carry else None
        logits, carry = self._model.forward(params, batch, mode, rng, carry)
        state = {"carry": carry} if self._has_carry else None
        if hasattr(self._model, "parameter_loss"):
            term = self._model.parameter_loss(params, self._config)
            logits = WithParameterLoss(logits, term)
        return logits, state

    @property
    def _has_carry(self) -> bool:
        return hasattr(self._model, "initial_carry")

    def without_carry(self, model_state: Any) -> Any:
        if not self._has_carry:
            return model_state
        return {"carry": self._model.initial_carry(self._config)}

    def loss(self, labels, logits, mask, label_smoothing):
        logits, term = parameter_loss.split(logits)
        if self._definition.loss_type is spec.LossType.MODEL_DEFINED:
            found = reduced(self._metrics.example_losses(np, labels, logits), mask)
        else:
            found = softmax_cross_entropy(labels, logits, mask)
        return found if term is None else parameter_loss.added(found, term, mask)

    def check_params(self, params: Any) -> None:
        shapes = {name: np.shape(value) for name, value in dict(params).items()}
        expected = {
            name: shape.shape_tuple for name, shape in self.param_shapes.items()
        }
        if shapes != expected:
            raise BadSubmission(
                f"parameters have shapes {shapes}; expected {expected}."
            )

    def isolate(self, params, model_state):
        """Plain arrays in a plain dict, whatever was returned."""
        return {name: np.array(params[name]) for name in self.param_shapes}, model_state

    def evaluate(self, params, model_state, batch, key=None):
        logits, state = self.forward(
            params, batch, model_state, spec.ForwardPassMode.EVAL, key, False, 0.0
        )
        loss = self.loss(batch.get("targets"), logits, batch["weights"], 0.0)
        logits, _ = parameter_loss.split(logits)
        return self._metrics.outputs(np, logits, batch, loss["per_example"]), state


def softmax_cross_entropy(labels, logits, mask=None) -> dict[str, Any]:
    """`spec.LossReturn` in numpy; labels int [batch]."""
    shifted = logits - logits.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return reduced(-log_probs[np.arange(len(labels)), labels], mask)


def reduced(per_example, mask=None) -> dict[str, Any]:
    mask = np.ones(len(per_example)) if mask is None else mask
    per_example = per_example * mask
    return {
        "summed": per_example.sum(),
        "n_valid_examples": mask.sum(),
        "per_example": per_example,
    }


class ToyBackend:
    """Implements `algoperf.backend.Backend`."""

    name = "toy"
    rank = 0
    num_processes = 1
    num_devices = 1

    def __init__(self, **_: Any) -> None:
        self.num_synchronized = 0
        self.processes = OneProcess()

    def describe_devices(self) -> dict[str, Any]:
        return {"kind": "numpy", "count": 1}

    def process_settings(self) -> dict[str, Any]:
        return dict(SETTINGS)

    def device_memory_bytes(self) -> int:
        return 1_000 * (1 + len(DEVICE.pending))

    def warm_up(self) -> None:
        pass

    def keys(self, numbers: np.ndarray) -> Sequence[np.ndarray]:
        return list(numbers)

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(batch)

    def bind(self, definition, model, metrics) -> ToyModel:
        return ToyModel(definition, model, metrics)

    def output_activation(self, loss_type, logits):
        exp = np.exp(logits - logits.max(-1, keepdims=True))
        return exp / exp.sum(-1, keepdims=True)

    def synchronize(self, *trees: Any) -> None:
        self.num_synchronized += 1
        DEVICE.wait()

    def probe(self, objective):
        from toy_probe import ToyProbe

        return ToyProbe(objective)

    def is_finite(self, params: Any) -> bool:
        return all(np.isfinite(value).all() for value in params.values())

    def to_leaves(self, tree: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return Writer().leaves(tree)

    def from_leaves(self, template: Any, arrays: Any, rest: Any) -> Any:
        return Reader(arrays).state(rest, template)

    def close(self) -> None:
        pass


def make_backend(**options: Any) -> ToyBackend:
    return ToyBackend(**options)
