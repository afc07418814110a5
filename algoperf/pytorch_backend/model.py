"""`algoperf.backend.BoundModel` for PyTorch: a workload's model, on the device.

What a `model_pytorch.py` defines (see `layers` for the conventions of its modules):

- `build(config) -> nn.Module`. By default the module is called with `batch["inputs"]`.
- optional `forward(module, batch, context) -> logits` instead of that call; see
  `ForwardContext`. It calls `module(...)`, not its parts, because DDP works through the
  call. Dropout and batch-norm layers are already set up; the context is for the rest.
- optional `outputs(module, batch, context) -> {name: tensor}` instead of logits, loss and
  `metrics.outputs`. It gets the module itself, without DDP, and runs without gradients.
- optional `parameter_loss(module, config)` and `initial_carry(config)`: see
  `algoperf.backend.ModelModule`. With a carry, `forward` gets it in the context, tensors by
  name, and returns (logits, carry).
"""

import contextlib
import functools
import inspect
import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import array_api_compat.torch as array_namespace
import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from algoperf import parameter_loss, spec
from algoperf.backend import MetricsModule, ModelModule
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, BadSubmission
from algoperf.forward_context import ForwardContext
from algoperf.parameter_loss import WithParameterLoss
from algoperf.pytorch_backend import layers, losses
from algoperf.pytorch_backend.devices import to_numpy
from algoperf.pytorch_backend.distributed import ProcessGroups, Rank, unwrap, wrap
from algoperf.pytorch_backend.dropout import Dropout, configure
from algoperf.pytorch_backend.rng import generator

CARRY = "carry"  # in the model state: what goes from batch to batch
# Their own `reset_parameters()` draws nothing: ones and zeros.
_CONSTANT_INIT = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Execution:
    """Where and how models run in this process."""

    device: torch.device
    rank: Rank
    processes: ProcessGroups
    bf16: bool = False
    compile: bool = False

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 compute where asked for; else a submission's own autocast holds."""
        if self.bf16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()


class ParameterTree(dict[str, Any]):
    """Leaves by parameter name; also found by names under DDP (`module.`…)."""

    def __missing__(self, key: str) -> Any:
        bare = key.removeprefix("module.")
        if bare == key:
            raise KeyError(key)
        return self[bare]


@dataclass(frozen=True)
class _Parts:
    """The layers of one module that a forward pass sets up."""

    dropouts: list[Dropout]
    statistics: list[layers.RunningStatistics]
    stock_norms: list[_NormBase]

    @classmethod
    def of(cls, module: nn.Module) -> "_Parts":
        parts = list(module.modules())
        return cls(
            [part for part in parts if isinstance(part, Dropout)],
            [part for part in parts if isinstance(part, layers.RunningStatistics)],
            [
                part
                for part in parts
                if isinstance(part, _NormBase) and part.track_running_stats
            ],
        )

    @contextlib.contextmanager
    def updating_statistics(self, update: bool) -> Iterator[None]:
        """Whether training passes update running statistics or leave them untouched."""
        if update:
            yield
            return
        for layer in self.statistics:
            layer.update_running_statistics = False
        for norm in self.stock_norms:
            # In training, PyTorch then uses the batch's statistics and keeps none.
            norm.track_running_stats = not norm.training
        try:
            yield
        finally:
            for layer in self.statistics:
                layer.update_running_statistics = True
            for norm in self.stock_norms:
                norm.track_running_stats = True


class BoundModel:
    """Implements `algoperf.backend.BoundModel`; parameters are an `nn.Module`."""

    def __init__(
        self,
        execution: Execution,
        definition: WorkloadDefinition,
        model: ModelModule,
        metrics: MetricsModule,
    ) -> None:
        self._execution = execution
        self._definition = definition
        # Most of their functions are optional, and looked up by name.
        self._model = cast(Any, model)
        self._metrics = cast(Any, metrics)
        self._parts: weakref.WeakKeyDictionary[nn.Module, _Parts]
        self._parts = weakref.WeakKeyDictionary()
        with torch.device("meta"):
            module = model.build(definition.model)
        parameters = dict(module.named_parameters())
        self.param_shapes = ParameterTree(
            {name: spec.ShapeTuple(p.shape) for name, p in parameters.items()}
        )
        self.param_types = ParameterTree(
            {name: _type(name, p, definition) for name, p in parameters.items()}
        )
        self._output_params = {n for n, p in parameters.items() if layers.is_output(p)}

    def is_output_param(self, key: str) -> bool:
        """Whether `key` is an output parameter, or a module of nothing else."""
        key = key.removeprefix("module.")
        names = {n for n in self.param_shapes if n == key or n.startswith(f"{key}.")}
        return bool(names) and names <= self._output_params

    def init(self, rng: spec.RandomState) -> spec.ModelInitState:
        """New parameters, the same on all ranks; this backend's model state is None."""
        # PyTorch's own layers draw when they are made; what they drew is overwritten.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            module = self._model.build(self._definition.model)
        initialise(module, rng)
        module.to(self._execution.device)
        if self._execution.compile:
            module.compile(fullgraph=True, dynamic=False)
        if self._execution.rank.is_distributed:
            module = wrap(module, self._execution.device)
        return module, self.without_carry(None)

    def forward(
        self,
        params: nn.Module,
        batch: spec.Batch,
        model_state: Any,
        mode: spec.ForwardPassMode,
        rng: spec.RandomState,
        update_batch_norm: bool,
        dropout_rate: Any,
    ) -> tuple[Any, Any]:
        """See `spec.Workload.model_fn`; leaves the module in the mode asked for."""
        train = mode is spec.ForwardPassMode.TRAIN
        if unwrap(params).training != train or params.training != train:
            params.train(train)
        parts = self._parts_of(params)
        if train:
            self._set_dropout(parts.dropouts, dropout_rate, rng)
        with parts.updating_statistics(update_batch_norm), self._execution.autocast():
            if hasattr(self._model, "forward"):
                context = self._context(
                    train=train,
                    rng=rng,
                    update_batch_norm=update_batch_norm,
                    dropout_rate=dropout_rate,
                    carry=model_state[CARRY] if self._has_carry else None,
                )
                logits = self._model.forward(params, batch, context)
            else:
                logits = params(batch["inputs"])
            state = None
            if self._has_carry:
                logits, carried = logits
                # Gradients end at the batch, as they do in a traced function.
                state = {CARRY: {name: x.detach() for name, x in carried.items()}}
        logits = _at_least_float32(logits)
        if not hasattr(self._model, "parameter_loss"):
            return logits, state
        config = self._definition.model
        term = self._model.parameter_loss(unwrap(params), config)
        return logits if term is None else WithParameterLoss(logits, term), state

    def loss(
        self, labels: Any, logits: Any, mask: Any | None, label_smoothing: float
    ) -> dict[str, Any]:
        """See `losses`. Float32 also inside a submission's own autocast."""
        logits, term = parameter_loss.split(logits)
        kind = self._definition.loss_type
        with torch.autocast(self._execution.device.type, enabled=False):
            if kind is spec.LossType.MODEL_DEFINED:
                per_example = self._metrics.example_losses(
                    array_namespace, labels, logits
                )
                found = losses.of_examples(per_example, mask)
            else:
                found = losses.loss(kind, labels, logits, mask, label_smoothing)
            return found if term is None else parameter_loss.added(found, term, mask)

    @property
    def _has_carry(self) -> bool:
        return hasattr(self._model, "initial_carry")

    def without_carry(self, model_state: Any) -> Any:
        """See `algoperf.backend.BoundModel.without_carry`."""
        if not self._has_carry:
            return model_state
        initial = self._model.initial_carry(self._definition.model)
        device = self._execution.device
        return {CARRY: {k: torch.tensor(v, device=device) for k, v in initial.items()}}

    def _context(self, **call: Any) -> ForwardContext:
        config, rank = self._definition.model, self._execution.rank.rank
        return ForwardContext(config, batch_part=rank, **call)

    def check_params(self, params: Any) -> None:
        """See `algoperf.backend.BoundModel.check_params`."""
        if not isinstance(params, nn.Module):
            raise BadSubmission(
                f"the parameters must be an nn.Module, not {type(params).__name__}."
            )
        named = unwrap(params).named_parameters()
        found = {name: spec.ShapeTuple(p.shape) for name, p in named}
        if found != dict(self.param_shapes):
            raise BadSubmission(
                "the parameters that were returned do not have the names and shapes of "
                f"the model: got {found}, expected {self.param_shapes}."
            )

    def isolate(self, params: nn.Module, model_state: Any) -> tuple[nn.Module, Any]:
        """See `algoperf.backend.BoundModel.isolate`: a module that nobody else has."""
        given = unwrap(params)
        values = {
            **dict(nn.Module.named_parameters(given)),
            **dict(nn.Module.named_buffers(given)),
        }
        own = self._evaluated
        with torch.no_grad():
            for name, tensor in (*own.named_parameters(), *own.named_buffers()):
                if name not in values or values[name].shape != tensor.shape:
                    raise BadSubmission(
                        f"the parameters that were returned have no {name!r} of shape "
                        f"{tuple(tensor.shape)}."
                    )
                tensor.copy_(values[name])
        return own, self.without_carry(None)

    @functools.cached_property
    def _evaluated(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            module: nn.Module = self._model.build(self._definition.model)
        module.to(self._execution.device).requires_grad_(False)
        if self._execution.compile:
            module.compile(fullgraph=True, dynamic=False)
        return module.eval()

    def evaluate(
        self, params: nn.Module, model_state: Any, batch: spec.Batch, key: Any = None
    ) -> tuple[dict[str, np.ndarray], Any]:
        """See `algoperf.backend.BoundModel`; leaves the module in its own mode."""
        module = unwrap(params)
        with _evaluating(module), torch.no_grad():
            outputs, state = self._outputs(module, model_state, batch, key)
        arrays = {name: to_numpy(tensor) for name, tensor in outputs.items()}
        return self._execution.processes.joined(arrays), state

    def _outputs(
        self, module: nn.Module, model_state: Any, batch: spec.Batch, key: Any
    ) -> tuple[Any, Any]:
        """What is evaluated, and the model state with what goes to the next batch."""
        if hasattr(self._model, "outputs"):
            with self._execution.autocast():
                found = self._model.outputs(module, batch, self._context())
                return found, model_state
        mode = spec.ForwardPassMode.EVAL
        logits, state = self.forward(module, batch, model_state, mode, key, False, 0.0)
        loss = self.loss(batch.get("targets"), logits, batch.get("weights"), 0.0)
        outputs = self._metrics.outputs(
            xp=array_namespace,
            logits=parameter_loss.split(logits)[0],
            batch=batch,
            per_example=loss["per_example"],
        )
        return outputs, state

    def _parts_of(self, module: nn.Module) -> _Parts:
        if module not in self._parts:
            self._parts[module] = _Parts.of(module)
        return self._parts[module]

    def _set_dropout(self, dropouts: list[Dropout], rate: Any, rng: Any) -> None:
        configure(
            dropouts,
            rate,
            rng,
            rank=self._execution.rank.rank,
            device=self._execution.device,
            compiled=self._execution.compile,
        )


def initialise(module: nn.Module, rng: Any) -> None:
    """Draws all initial values on the CPU: the conventions of `layers`."""
    source = generator(rng)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(math.nan)
        module.apply(lambda part: _reset(part, source))
        for name, parameter in module.named_parameters():
            if torch.isnan(parameter).any():
                raise AlgoPerfError(
                    f"No reset_parameters(generator) fills the parameter {name!r}. Use "
                    "a layer of algoperf.pytorch_backend.layers, or define that method "
                    "in the module or in one around it."
                )


def _reset(module: nn.Module, source: torch.Generator) -> None:
    reset = getattr(module, "reset_parameters", None)
    if reset is None:
        return
    if "generator" in inspect.signature(reset).parameters:
        reset(source)
    elif isinstance(module, _CONSTANT_INIT):
        reset()


def _type(
    name: str, parameter: nn.Parameter, definition: WorkloadDefinition
) -> spec.ParameterType:
    type = layers.parameter_type(parameter)
    if type is None:
        raise AlgoPerfError(
            f"{definition.name}: the parameter {name!r} has no type. Make it with "
            "typed(parameter, ParameterType.…) of algoperf.pytorch_backend.layers, or "
            "use a layer from there."
        )
    return type


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Within, the module is in evaluation mode; afterwards every part is as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _at_least_float32(logits: Any) -> Any:
    """bfloat16 logits as float32, so that losses and metrics reduce in it."""
    if isinstance(logits, tuple):
        return tuple(_at_least_float32(part) for part in logits)
    return logits.float() if logits.dtype in (torch.bfloat16, torch.half) else logits
