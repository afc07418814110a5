"""`algoperf.probe.Probe` in JAX: derivatives of a workload's loss, at copies of parameters.

Vectors are flat dicts of arrays by slash-separated path, replicated over the devices.
Everything is compiled once per shape of a batch; sums over examples are over all devices.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algoperf import spec
from algoperf.jax_backend import layers, sharding
from algoperf.jax_backend.derivatives import (
    NO_DERIVATIVE,
    forward_over_reverse,
    reduced,
    reverse_over_reverse,
    transposed,
    wide,
)
from algoperf.jax_backend.layer_calls import Tracer
from algoperf.jax_backend.model import CARRY
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


class JaxProbe(ProbeBase):
    """Implements `algoperf.probe.Probe`."""

    no_derivative = NO_DERIVATIVE

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        shapes = _flat(objective.workload.param_shapes)
        self.names = tuple(shapes)
        self.num_parameters = sum(
            int(np.prod(shape.shape_tuple)) for shape in shapes.values()
        )
        self._carries = False  # state from batch to batch
        self.chunk_multiple = sharding.get_mesh().size

    # Points and vectors

    def copy(self, params: Any, model_state: Any) -> Point:
        """See `algoperf.probe.Probe`."""
        state = model_state or {}
        others = {name: part for name, part in state.items() if name != CARRY}
        self.couples_examples = bool(jax.tree.leaves(others))
        self._carries = CARRY in state
        return Point(*self._copied((_flat(params), state)))

    @functools.cached_property
    def _copied(self) -> Any:
        return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))

    def copy_sample(self, sample: Sample) -> Sample:
        """See `algoperf.probe.Probe`."""
        return Sample(*self._copied((dict(sample.batch), sample.key)))

    def dots(self, a: Vector, b: Vector) -> np.ndarray:
        """See `algoperf.probe.Probe`."""
        return np.asarray(self._dots(dict(a), dict(b)), np.float64)

    @functools.cached_property
    def _dots(self) -> Any:
        def dots(a: Vector, b: Vector) -> jax.Array:
            return jnp.stack([jnp.sum(wide(a[n]) * wide(b[n])) for n in self.names])

        return jax.jit(dots)

    def combine(self, a: float, x: Vector, b: float, y: Vector) -> Vector:
        """See `algoperf.probe.Probe`."""
        combined: Vector = self._combine(a, dict(x), b, dict(y))
        return combined

    @functools.cached_property
    def _combine(self) -> Any:
        def combine(a: Any, x: Any, b: Any, y: Any) -> Any:
            return jax.tree.map(lambda u, v: a * u + b * v, x, y)

        return jax.jit(combine)

    def held(self, params: Any) -> Vector:
        """See `algoperf.probe.Probe`."""
        return _flat(params)

    def from_numpy(self, arrays: Mapping[str, np.ndarray]) -> Vector:
        """See `algoperf.probe.Probe`."""
        placed: Vector = sharding.replicate(dict(arrays))
        return placed

    def to_numpy(self, vector: Vector) -> dict[str, np.ndarray]:
        """See `algoperf.probe.Probe`."""
        return {name: np.asarray(array) for name, array in vector.items()}

    # Losses and derivatives of the whole batch

    def summed(self, point: Point, sample: Sample) -> tuple[np.ndarray, float]:
        """See `ProbeBase`."""
        summed, valid = self._compiled_summed(*_arguments(point, sample))
        return np.asarray(summed), float(valid)

    @functools.cached_property
    def _compiled_summed(self) -> Any:
        return jax.jit(self._summed)

    def _summed(self, values: Any, state: Any, batch: Any, key: Any) -> Any:
        return self.objective(_nested(values), state, batch, key)

    def batch_gradient(
        self, point: Point, sample: Sample
    ) -> tuple[np.ndarray, float, Vector]:
        """See `ProbeBase`."""
        gradient, (summed, valid) = self._gradient(*_arguments(point, sample))
        return np.asarray(summed), float(valid), gradient

    @functools.cached_property
    def _gradient(self) -> Any:
        return jax.jit(jax.grad(self._mean, has_aux=True))

    def _mean(self, values: Any, *rest: Any) -> Any:
        summed, valid = self._summed(values, *rest)
        return summed.sum() / valid, (summed, valid)

    def batch_slopes(
        self, point: Point, sample: Sample, directions: Sequence[Vector]
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """See `ProbeBase`."""
        arguments = (list(map(dict, directions)), *_arguments(point, sample))
        if "slopes" not in self.routes:
            try:
                self._forward_slopes(*arguments)
                self.routes["slopes"] = "forward mode"
            except self.no_derivative:  # a gradient that was written by hand
                self.routes["slopes"] = "two reverse passes"
        is_forward = self.routes["slopes"] == "forward mode"
        compute = self._forward_slopes if is_forward else self._reverse_slopes
        summed, slopes, valid = compute(*arguments)
        return np.asarray(summed), np.stack(jax.device_get(slopes), 1), float(valid)

    @functools.cached_property
    def _forward_slopes(self) -> Any:
        def slopes(directions: Any, values: Any, *rest: Any) -> Any:
            summed = functools.partial(self._swapped, *rest)
            losses, along, valid = jax.linearize(summed, values, has_aux=True)
            return losses, [along(direction) for direction in directions], valid

        return jax.jit(slopes)

    @functools.cached_property
    def _reverse_slopes(self) -> Any:
        def slopes(directions: Any, values: Any, *rest: Any) -> Any:
            summed = functools.partial(self._swapped, *rest)
            losses, backward, valid = jax.vjp(summed, values, has_aux=True)
            found = [transposed(backward, losses, d) for d in directions]
            return losses, found, valid

        return jax.jit(slopes)

    def _swapped(self, state: Any, batch: Any, key: Any, values: Any) -> Any:
        return self._summed(values, state, batch, key)

    def hessian(self, point: Point, sample: Sample) -> Callable[[Vector], Vector]:
        """See `algoperf.probe.Probe`."""
        arguments = _arguments(point, sample)
        return lambda vector: self._product("hessian", dict(vector), *arguments)

    def ggn(self, point: Point, sample: Sample) -> Callable[[Vector], Vector]:
        """See `algoperf.probe.Probe`."""
        arguments = _arguments(point, sample)
        return lambda vector: self._product("ggn", dict(vector), *arguments)

    def _product(self, matrix: str, *arguments: Any) -> Vector:
        """By the first of two ways that there is; JAX may only say so when it compiles."""
        known = self.routes.get(matrix)
        for route in (known,) if known else ("forward mode", "reverse mode"):
            with contextlib.suppress(*self.no_derivative):
                found: Vector = self._compiled_product(matrix, route, *arguments)
                self.routes[matrix] = route
                return found
        raise NotMeasurable("JAX has no second derivative of this workload's loss")

    @functools.cached_property
    def _compiled_product(self) -> Any:
        def product(matrix: str, route: str, vector: Any, *arguments: Any) -> Any:
            values, *rest = arguments
            if matrix == "ggn":
                return self._ggn(route, vector, *arguments)
            reverse = route == "reverse mode"
            compute = reverse_over_reverse if reverse else forward_over_reverse
            return compute(lambda v: self._mean(v, *rest)[0], values, vector)

        return jax.jit(product, static_argnums=(0, 1))

    def _ggn(
        self, route: str, vector: Any, values: Any, state: Any, batch: Any, key: Any
    ) -> Any:
        def logits(values: Any) -> Any:
            return self.objective.logits(_nested(values), state, batch, key)

        def mean(logits: Any) -> Any:
            summed, valid = self.objective.summed(logits, batch)
            return summed.sum() / valid

        outputs, backward = jax.vjp(logits, values)
        if route == "forward mode":
            tangents = jax.jvp(logits, (values,), (vector,))[1]
        else:
            tangents = transposed(backward, outputs, vector)
        curved = jax.jvp(jax.grad(mean), (outputs,), (tangents,))[1]
        return backward(curved)[0]

    def relabelled(self, point: Point, sample: Sample, seed: int) -> Relabelled:
        """See `algoperf.probe.Probe`."""
        summed, valid = self.summed(point, sample)
        rows = self.rows_of(sample, len(summed), valid)
        random = np.random.default_rng(seed)
        logits = self._logits(*_arguments(point, sample))
        workload = self.objective.workload
        if hasattr(logits, "compute"):
            logits = logits.compute()
        if workload.loss_type is spec.LossType.MEAN_SQUARED_ERROR:
            size = logits.size // logits.shape[0]
            noise = random.standard_normal(logits.shape).astype(np.float32)
            labels = logits + noise * (size / 2) ** 0.5
        else:
            labels = draw_labels(
                workload.loss_type,
                lambda: workload.output_activation_fn(logits),
                lambda shape: random.random(shape, np.float32),
            )
        old = sample.batch["targets"]
        if labels.ndim < old.ndim:  # distributions over the classes
            labels = jax.nn.one_hot(labels, logits.shape[-1])
        labels = jax.device_put(labels.astype(old.dtype), old.sharding)
        redrawn = Sample({**sample.batch, "targets": labels}, sample.key)
        return Relabelled(redrawn, ggn_scale(rows.num_examples, rows.num_valid))

    @functools.cached_property
    def _logits(self) -> Any:
        def logits(values: Any, state: Any, batch: Any, key: Any) -> Any:
            return self.objective.logits(_nested(values), state, batch, key)

        return jax.jit(logits)

    # Layer by layer

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """See `ProbeBase`."""
        return _compiled(function)

    def precise(self) -> contextlib.AbstractContextManager[Any]:
        """See `ProbeBase`."""
        context: contextlib.AbstractContextManager[Any]
        context = jax.default_matmul_precision("highest")
        return context

    def trace(
        self, point: Point, sample: Sample, *, with_gradient: bool
    ) -> Traced | None:
        """See `ProbeBase`."""
        with self.precise():
            return self._tracer(
                *_arguments(point, sample),
                names=self.names,
                with_gradient=with_gradient,
            )

    @functools.cached_property
    def _tracer(self) -> Tracer:
        def outputs(values: Any, *rest: Any) -> Any:
            return self.objective.outputs(_nested(values), *rest)

        return Tracer(outputs, self.objective.summed)

    # Single examples

    def are_rows(self, sample: Sample, num_rows: int) -> bool:
        """See `ProbeBase`."""
        sizes = leading_size(jax.tree.leaves(dict(sample.batch)))
        return sizes == num_rows and not self._carries

    def chunk(self, point: Point, sample: Sample, request: ChunkRequest) -> Chunk:
        """See `ProbeBase`."""
        compute = self._chunk_of_rows if request.one_by_one else self._chunk_together
        found = compute(
            [dict(direction) for direction in request.directions],
            request.indices,
            request.weights,
            *_arguments(point, sample),
            squares=request.squares,
            keep=request.keep_gradients,
        )
        return Chunk(**found)

    @functools.cached_property
    def _chunk_together(self) -> Any:
        def chunk(
            directions: Any, indices: Any, weights: Any, *arguments: Any, **options: Any
        ) -> dict[str, Any]:
            values, state, batch, key = arguments
            examples = jax.tree.map(lambda x: _spread(x[indices]), batch)

            def loss(values: Any, example: Any, index: Any) -> Any:
                alone = jax.tree.map(lambda x: x[None], example)
                with layers.example_of_batch(index, _num_rows(batch)):
                    return self._summed(values, state, alone, key)[0].sum()

            each = jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0, 0))
            losses, grads = each(values, examples, indices)
            return reduced(losses, grads, weights, directions, **options)

        return jax.jit(chunk, static_argnames=("squares", "keep"))

    @functools.cached_property
    def _chunk_of_rows(self) -> Any:
        def chunk(
            directions: Any, indices: Any, weights: Any, *arguments: Any, **options: Any
        ) -> dict[str, Any]:
            values, *rest = arguments
            summed = functools.partial(self._swapped, *rest)
            losses, backward, _ = jax.vjp(summed, values, has_aux=True)
            picked = jax.nn.one_hot(indices, len(losses), dtype=losses.dtype)
            (grads,) = jax.vmap(backward)(picked)
            return reduced(losses[indices], grads, weights, directions, **options)

        return jax.jit(chunk, static_argnames=("squares", "keep"))


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = jax.jit(function)
    return compiled


def _num_rows(batch: Any) -> int:
    return int(jax.tree.leaves(batch)[0].shape[0])


def _arguments(point: Point, sample: Sample) -> tuple[Any, Any, Any, Any]:
    return dict(point.values), point.model_state, dict(sample.batch), sample.key


def _spread(x: jax.Array) -> jax.Array:
    """Cuts a chunk over the devices, where that is possible."""
    if x.shape[0] % sharding.get_mesh().size:
        return x
    spread: jax.Array = jax.lax.with_sharding_constraint(
        x, sharding.get_batch_dim_sharding()
    )
    return spread


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A nested dict as a flat one, by slash-separated path."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, part in tree.items():
        found.update(_flat(part, f"{prefix}/{key}" if prefix else str(key)))
    return found


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_flat`."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *folders, leaf = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    return tree
