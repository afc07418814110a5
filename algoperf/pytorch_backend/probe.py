"""`algoperf.probe.Probe` in PyTorch: derivatives of a workload's loss, at copies of parameters.

The model is a module of the harness' own, which no submission has ever had, called with the
copied parameters (`functional_call`). Vectors are dicts of tensors by parameter name.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _NormBase

from algoperf import spec
from algoperf.layer_sums import Traced
from algoperf.probe import (
    NotMeasurable,
    Objective,
    Point,
    Relabelled,
    Sample,
    Vector,
    draw_labels,
    ggn_scale,
    leading_size,
)
from algoperf.probe_base import ProbeBase
from algoperf.probe_chunks import Chunk, ChunkRequest
from algoperf.pytorch_backend import derivatives, layer_calls
from algoperf.pytorch_backend.derivatives import (
    ModelCall,
    Part,
    mapped,
    on_host,
    plain_kernels,
    reduced,
    tensors,
)
from algoperf.pytorch_backend.distributed import ProcessGroups, Rank, unwrap
from algoperf.pytorch_backend.dropout import Dropout
from algoperf.pytorch_backend.layers import RunningStatistics


class TorchProbe(ProbeBase):
    """Implements `algoperf.probe.Probe`."""

    no_derivative = derivatives.NO_DERIVATIVE

    def __init__(
        self,
        objective: Objective,
        rank: Rank,
        device: torch.device,
        processes: ProcessGroups,
    ) -> None:
        super().__init__(objective)
        self._rank, self._device, self._processes = rank, device, processes
        shapes = objective.workload.param_shapes
        self.names = tuple(shapes)
        self.num_parameters = sum(
            int(np.prod(shape.shape_tuple)) for shape in shapes.values()
        )
        self._call: ModelCall | None = None
        self._carries = False  # state from batch to batch
        self._dropouts: list[Dropout] = []

    # Points and vectors

    def copy(self, params: Any, model_state: Any) -> Point:
        """See `algoperf.probe.Probe`."""
        if self._call is None:
            self._call = self._make(params)
        named = dict(nn.Module.named_parameters(unwrap(params)))
        self._carries = model_state is not None
        state = mapped(lambda x: x.detach().clone(), model_state)
        return Point({n: named[n].detach().clone() for n in self.names}, state)

    def _make(self, params: Any) -> ModelCall:
        workload: Any = self.objective.workload
        own = copy.deepcopy(workload.isolated(params, None)[0]).train()
        parts = list(own.modules())
        self._dropouts = [part for part in parts if isinstance(part, Dropout)]
        self.couples_examples = any(
            isinstance(part, RunningStatistics | _NormBase) for part in parts
        )
        return ModelCall(own, self.objective)

    def copy_sample(self, sample: Sample) -> Sample:
        """See `algoperf.probe.Probe`."""
        return Sample(mapped(torch.clone, dict(sample.batch)), sample.key)

    def dots(self, a: Vector, b: Vector) -> np.ndarray:
        """See `algoperf.probe.Probe`."""
        products = [
            derivatives.dot(a[n].float().flatten(), b[n].float().flatten())
            for n in self.names
        ]
        return torch.stack(products).cpu().numpy()

    def combine(self, a: float, x: Vector, b: float, y: Vector) -> Vector:
        """See `algoperf.probe.Probe`."""
        if b == 0:
            return {name: a * tensor for name, tensor in x.items()}
        if a == 1:
            return {name: torch.add(x[name], y[name], alpha=b) for name in x}
        return {name: torch.add(b * y[name], x[name], alpha=a) for name in x}

    def held(self, params: Any) -> Vector:
        """See `algoperf.probe.Probe`."""
        named = dict(nn.Module.named_parameters(unwrap(params)))
        return {name: named[name].detach() for name in self.names}

    def from_numpy(self, arrays: Mapping[str, np.ndarray]) -> Vector:
        """See `algoperf.probe.Probe`."""
        return {n: torch.tensor(a).to(self._device) for n, a in arrays.items()}

    def to_numpy(self, vector: Vector) -> dict[str, np.ndarray]:
        """See `algoperf.probe.Probe`; on a CPU the arrays share the tensors' memory."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in vector.items()}

    # Several processes

    def gathered(self, rows: np.ndarray) -> np.ndarray:
        """See `ProbeBase`."""
        return np.concatenate(self._processes.gather(rows))

    def added(self, vector: Vector) -> Vector:
        """See `ProbeBase`."""
        if self._rank.is_distributed:
            for tensor in vector.values():
                distributed.all_reduce(tensor)
        return vector

    def _refuse_coupled(self) -> None:
        if self.couples_examples and self._rank.is_distributed:
            raise NotMeasurable(
                "batch norm couples the examples of all processes; measure with one process"
            )

    # Losses and derivatives of the whole batch

    def _function(
        self, point: Point, sample: Sample, part: Part = "__call__"
    ) -> derivatives.Function:
        """Of parameter values: the logits, or rows' losses and what they are divided by."""
        call = self._call
        assert call is not None, "`copy` comes first"

        def function(values: dict[str, Tensor]) -> Any:
            named = {f"inner.{name}": value for name, value in values.items()}
            arguments = (point.model_state, sample, part)
            return torch.func.functional_call(call, named, arguments)

        return function

    def weights_of(self, sample: Sample) -> Any:
        """See `ProbeBase`."""
        weights = sample.batch.get("weights")
        return None if weights is None else weights.detach().cpu().numpy()

    def summed(self, point: Point, sample: Sample) -> tuple[np.ndarray, float]:
        """See `ProbeBase`."""
        with torch.no_grad(), plain_kernels():
            summed, valid = self._function(point, sample)(dict(point.values))
        return on_host(summed), float(valid)

    def batch_gradient(
        self, point: Point, sample: Sample
    ) -> tuple[np.ndarray, float, Vector]:
        """See `ProbeBase`."""
        values = derivatives.variables(point.values)
        with plain_kernels():
            summed, valid = self._function(point, sample)(values)
            rows = self.rows_of(sample, len(summed), float(valid))
            found = derivatives.gradient(summed.sum() / rows.num_valid, values)
        return on_host(summed), float(valid), self.added(found)

    def trace(
        self, point: Point, sample: Sample, *, with_gradient: bool
    ) -> Traced | None:
        """See `ProbeBase`."""
        return layer_calls.trace(
            self._function(point, sample, "outputs"),
            self.objective,
            sample.batch,
            point.values,
            with_gradient=with_gradient,
        )

    def batch_slopes(
        self, point: Point, sample: Sample, directions: Sequence[Vector]
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """See `ProbeBase`."""
        self._refuse_coupled()
        function = self._function(point, sample)
        outputs = self._function(point, sample, "outputs")
        loss = partial(self.objective.summed, batch=sample.batch)
        routes: dict[str, Callable[..., Any]] = {
            "forward mode": partial(derivatives.forward_slopes, function),
            "forward mode to the logits": partial(
                derivatives.slopes_of_logits, outputs, loss
            ),
            "two reverse passes": partial(derivatives.reverse_slopes, function),
            "one by one": partial(derivatives.row_slopes, function),
        }
        if "slopes" not in self.routes:
            self.routes["slopes"] = self._first_that_works(routes, point, directions[0])
        compute = routes[self.routes["slopes"]]
        with plain_kernels():
            found = [compute(point.values, direction) for direction in directions]
        summed, _, valid = found[0]
        slopes = np.stack([on_host(slope) for _, slope, _ in found], 1)
        return on_host(summed), slopes, float(valid)

    def _first_that_works(
        self,
        routes: Mapping[str, Callable[..., Any]],
        point: Point,
        direction: Vector,
    ) -> str:
        *others, last = routes
        for name in others:
            with contextlib.suppress(*self.no_derivative), plain_kernels():
                routes[name](point.values, direction)
                return name
        return last

    def hessian(self, point: Point, sample: Sample) -> Callable[[Vector], Vector]:
        """See `algoperf.probe.Probe`."""
        self._refuse_coupled()
        values = derivatives.variables(point.values)
        with plain_kernels():
            summed, valid = self._function(point, sample)(values)
            rows = self.rows_of(sample, len(summed), float(valid))
            mean = summed.sum() / rows.num_valid
            found = derivatives.gradient(mean, values, create_graph=True)

        def product(vector: Vector) -> Vector:
            def compute() -> Vector:
                slope = derivatives.product(found, vector)
                with plain_kernels():
                    return derivatives.gradient(slope, values, retain_graph=True)

            return self.added(derivatives.second_derivative(compute))

        return product

    def ggn(self, point: Point, sample: Sample) -> Callable[[Vector], Vector]:
        """See `algoperf.probe.Probe`."""
        self._refuse_coupled()
        function = self._function(point, sample, "logits")
        values = derivatives.variables(point.values)
        with plain_kernels():
            outputs = function(values)
        leaves = list(tensors(outputs))
        free = [leaf.detach().requires_grad_() for leaf in leaves]
        remaining = iter(free)
        summed, valid = self.objective.summed(
            mapped(lambda _: next(remaining), outputs), sample.batch
        )
        rows = self.rows_of(sample, len(summed), float(valid))
        mean = summed.sum() / rows.num_valid
        slopes = torch.autograd.grad(
            mean, free, create_graph=True, materialize_grads=True
        )

        def product(vector: Vector) -> Vector:
            with plain_kernels():
                tangents = derivatives.tangents_of(
                    function, point.values, vector, leaves, values
                )
            pairs = [(s * t).sum() for s, t in zip(slopes, tangents, strict=True)]
            curved = derivatives.second_derivative(
                lambda: torch.autograd.grad(
                    torch.stack(pairs).sum(),
                    free,
                    retain_graph=True,
                    materialize_grads=True,
                )
            )
            used = [i for i, leaf in enumerate(leaves) if leaf.requires_grad]
            outputs, arguments = ([x[i] for i in used] for x in (leaves, curved))
            with plain_kernels():
                found = derivatives.gradient(
                    outputs, values, arguments, retain_graph=True
                )
            return self.added(found)

        return product

    def relabelled(self, point: Point, sample: Sample, seed: int) -> Relabelled:
        """See `algoperf.probe.Probe`."""
        summed, valid = self.summed(point, sample)
        rows = self.rows_of(sample, len(summed), valid)
        with torch.no_grad(), plain_kernels():
            logits = self._function(point, sample, "logits")(dict(point.values))
            logits = logits.compute() if hasattr(logits, "compute") else logits
            labels = self._drawn(logits, np.random.default_rng(seed))
        old = sample.batch["targets"]
        if labels.ndim < old.ndim:  # distributions over the classes
            labels = nn.functional.one_hot(labels, logits.shape[-1])
        redrawn = Sample({**sample.batch, "targets": labels.to(old.dtype)}, sample.key)
        return Relabelled(redrawn, ggn_scale(rows.num_examples, rows.num_valid))

    def _drawn(self, logits: Any, random: np.random.Generator) -> Tensor:
        workload = self.objective.workload

        def own_part(draw: Callable[..., Any], shape: tuple[int, ...]) -> Tensor:
            """Of the global batch's random numbers."""
            whole = draw((shape[0] * self._rank.world_size, *shape[1:]))
            first = self._rank.rank * shape[0]
            part = np.asarray(whole[first : first + shape[0]], np.float32)
            return torch.from_numpy(part).to(self._device)

        if workload.loss_type is spec.LossType.MEAN_SQUARED_ERROR:
            noise = own_part(random.standard_normal, tuple(logits.shape))
            drawn: Tensor = logits + noise * (logits[0].numel() / 2) ** 0.5
            return drawn
        labels: Tensor = draw_labels(
            workload.loss_type,
            lambda: workload.output_activation_fn(logits),
            partial(own_part, partial(random.random, dtype=np.float32)),
        )
        return labels

    # Single examples

    def are_rows(self, sample: Sample, num_rows: int) -> bool:
        """See `ProbeBase`."""
        sizes = leading_size(list(tensors(dict(sample.batch))))
        return sizes == num_rows and not self._carries

    def chunk(self, point: Point, sample: Sample, request: ChunkRequest) -> Chunk:
        """See `ProbeBase`."""
        compute = self._chunk_of_rows if request.one_by_one else self._chunk_together
        indices = torch.from_numpy(request.indices).long().to(self._device)
        with plain_kernels():
            losses, grads = compute(point, sample, indices)
        weights = torch.from_numpy(request.weights).to(self._device)
        with torch.no_grad():
            weighted = {name: grads[name].float() for name in self.names}
            if (request.weights != 1).any():  # one pass less over all elements
                weighted = {
                    name: grad * weights.reshape(-1, *(1,) * (grad.ndim - 1))
                    for name, grad in weighted.items()
                }
            return reduced(losses.detach() * weights, weighted, request)

    def _chunk_together(
        self, point: Point, sample: Sample, indices: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        batch = dict(sample.batch)
        num_rows = len(next(tensors(batch)))
        examples = mapped(lambda x: x[indices], batch)
        places = indices + self._rank.rank * num_rows

        def loss(values: dict[str, Tensor], example: Any, place: Tensor) -> Any:
            alone = Sample(mapped(lambda x: x[None], example), sample.key)
            with self._dropping_as(place):
                return self._function(point, alone)(values)[0].sum()

        each = torch.func.vmap(
            torch.func.grad_and_value(loss), in_dims=(None, 0, 0), randomness="error"
        )
        grads, losses = each(dict(point.values), examples, places)
        return losses, grads

    @contextlib.contextmanager
    def _dropping_as(self, place: Tensor) -> Iterator[None]:
        """Dropout drops what it would drop of that example in the whole batch."""
        for layer in self._dropouts:
            layer.example = place
        try:
            yield
        finally:
            for layer in self._dropouts:
                layer.example = None

    def _chunk_of_rows(
        self, point: Point, sample: Sample, indices: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self._refuse_coupled()
        values = derivatives.variables(point.values)
        summed, _ = self._function(point, sample)(values)
        found = [
            derivatives.gradient(summed[index], values, retain_graph=True)
            for index in indices.tolist()
        ]
        grads = {name: torch.stack([f[name] for f in found]) for name in self.names}
        return summed[indices], grads
