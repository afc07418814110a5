"""A workload's Flax model on the devices, and what a `model_jax.py` defines.

Required:
- `build(config) -> flax.linen.Module`. Every parameter is made by a `layers.typed`
  initializer (the layers of `layers` have them). The module is called as
  `module(inputs, train=bool, dropout_rate=rate)`; `rate` may be a traced scalar, and
  keys for dropout come from `self.make_rng("dropout")` when training.
- `example_batch(config) -> dict[str, np.ndarray]`: a batch as `data.py` would give it,
  with one or two examples, usually zeros. Shapes and dtypes matter, values do not.

Optional:
- `forward(module, variables, batch, context) -> (logits, new_model_state)` where the
  default call will not do; see `ForwardContext`. `variables` holds `params` and the
  collections of the model state; `new_model_state` is those collections.
- `init_variables(module, rngs, batch) -> variables` where the module is not called as
  above.
- `outputs(module, variables, batch, context) -> dict[str, array]`: what is evaluated,
  instead of `metrics.outputs(xp, logits, batch, per_example)`; compiled.
- `parameter_loss(params, config)` and `initial_carry(config)`: see
  `algoperf.backend.ModelModule`. `forward` gets the carry in the context, and returns the
  next one as the collection `carry`.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from algoperf import parameter_loss, spec
from algoperf.backend import MetricsModule, ModelModule
from algoperf.deferred_logits import DeferredLogits
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, BadSubmission
from algoperf.forward_context import ForwardContext
from algoperf.jax_backend import losses
from algoperf.jax_backend.layers import Typed, at_least_float32, computing_in
from algoperf.jax_backend.sharding import get_replicate_sharding, over_devices
from algoperf.parameter_loss import WithParameterLoss

CARRY = "carry"  # in the model state: what goes from batch to batch
jax.tree_util.register_dataclass(WithParameterLoss, ["logits", "term"], [])


class BoundModel:
    """Implements `algoperf.backend.BoundModel` for Flax modules.

    Parameters and model state are plain nested dicts of arrays, replicated on all
    devices. The model state holds Flax's other collections (`batch_stats`); it is {}
    without any.
    """

    def __init__(
        self,
        definition: WorkloadDefinition,
        model: ModelModule,
        metrics: MetricsModule,
        *,
        compute_dtype: Any,
    ) -> None:
        # Most of their functions are optional, and looked up by name.
        self._model = cast(Any, model)
        self._metrics = cast(Any, metrics)
        self._definition = definition
        self._config = definition.model
        self._dtype = compute_dtype
        with computing_in(compute_dtype):
            self._module = model.build(definition.model)
        self._example = dict(self._model.example_batch(definition.model))
        boxed = _typed_params(self._shapes(), definition.name)
        self.param_shapes: spec.ParameterShapeTree = _map_boxes(
            lambda box: spec.ShapeTuple(box.value.shape), boxed
        )
        self.param_types: spec.ParameterTypeTree = _map_boxes(
            lambda box: box.type, boxed
        )
        self._is_output = {
            tuple(entry.key for entry in path): box.is_output
            for path, box in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=_is_box)
        }

    def is_output_param(self, key: str) -> bool:
        """Whether every parameter under `key`, and at least one, is marked as output.

        key: a top-level name, or a path to a group or parameter with slashes or dots
        (`decoder/Dense_0/kernel`), also as `jax.tree_util.keystr` writes it.
        """
        parts = tuple(re.findall(r"[^\[\]'\"/.]+", key))
        under = [
            is_output
            for path, is_output in self._is_output.items()
            if path[: len(parts)] == parts
        ]
        return bool(parts and under) and all(under)

    def init(self, rng: spec.RandomState) -> spec.ModelInitState:
        """See `algoperf.backend.BoundModel.init`; rng: a raw key, uint32 [2]."""
        variables = dict(self._compiled_init(rng))
        params = variables.pop("params")
        return params, self.without_carry(variables)

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
        """See `spec.Workload.model_fn`. Traceable; logits are float32."""
        train = mode is spec.ForwardPassMode.TRAIN
        collections = dict(model_state or {})
        carry = collections.pop(CARRY, None)
        with computing_in(self._dtype):
            logits, new_state = self._forward()(
                self._module,
                {"params": params, **collections},
                batch,
                ForwardContext(
                    self._config, train, rng, update_batch_norm, dropout_rate, carry
                ),
            )
        updates = train and update_batch_norm and collections
        state = new_state if updates else model_state
        if self._has_carry:
            state = {**state, CARRY: new_state[CARRY]}
        logits = _at_least_float32(logits)
        if not hasattr(self._model, "parameter_loss"):
            return logits, state
        term = self._model.parameter_loss(params, self._config)
        return logits if term is None else WithParameterLoss(logits, term), state

    def loss(
        self, labels: Any, logits: Any, mask: Any | None, label_smoothing: float
    ) -> dict[str, Any]:
        """See `losses`."""
        logits, term = parameter_loss.split(logits)
        if self._definition.loss_type is spec.LossType.MODEL_DEFINED:
            per_example = self._metrics.example_losses(jnp, labels, logits)
            found = losses.of_examples(per_example, mask)
        else:
            kind = self._definition.loss_type
            found = losses.loss(kind, labels, logits, mask, label_smoothing)
        return found if term is None else parameter_loss.added(found, term, mask)

    @property
    def _has_carry(self) -> bool:
        return hasattr(self._model, "initial_carry")

    def without_carry(self, model_state: Any) -> Any:
        """See `algoperf.backend.BoundModel.without_carry`."""
        if not self._has_carry:
            return model_state
        initial = self._model.initial_carry(self._config)
        replicated = get_replicate_sharding()
        return {**(model_state or {}), CARRY: jax.device_put(dict(initial), replicated)}

    def check_params(self, params: Any) -> None:
        """See `algoperf.backend.BoundModel.check_params`."""
        _check_types(params)
        try:
            found = jax.tree.map(lambda x: spec.ShapeTuple(jnp.shape(x)), params)
        except TypeError as error:
            raise BadSubmission(f"the parameters are not arrays: {error}") from None
        arrays = [x for x in jax.tree.leaves(params) if isinstance(x, jax.Array)]
        if any(array.is_deleted() for array in arrays):
            raise BadSubmission(
                "the parameters were donated to a jitted function and are gone; return "
                "what that function returned, and raise before calling it."
            )
        if found != self.param_shapes:
            raise BadSubmission(
                "the parameters that were returned do not have the names and shapes of "
                f"the model: got {found}, expected {self.param_shapes}."
            )

    def evaluate(
        self, params: Any, model_state: Any, batch: spec.Batch, key: Any = None
    ) -> tuple[dict[str, np.ndarray], Any]:
        """See `algoperf.backend.BoundModel.evaluate`."""
        found, carry = self._compiled_evaluate(params, model_state, batch, key)
        outputs = {name: np.asarray(x) for name, x in jax.device_get(found).items()}
        if self._has_carry:
            model_state = {**model_state, CARRY: carry}
        return outputs, model_state

    def isolate(self, params: Any, model_state: Any) -> tuple[Any, Any]:
        """See `algoperf.backend.BoundModel.isolate`: plain dicts of plain arrays."""
        try:
            rebuilt = _rebuilt(self.param_shapes, params)
            return rebuilt, jax.tree.map(jnp.asarray, _plain(model_state))
        except (KeyError, TypeError) as error:
            raise BadSubmission(
                f"the parameters or the model state are no dicts of arrays: {error!r}."
            ) from None

    def _forward(self) -> Any:
        return getattr(self._model, "forward", _default_forward)

    def _init_variables(self, rng: spec.RandomState) -> Any:
        params_key, dropout_key = jax.random.split(rng)
        rngs = {"params": params_key, "dropout": dropout_key}
        init = getattr(self._model, "init_variables", _default_init)
        with computing_in(self._dtype):
            return init(self._module, rngs, self._example)

    def _shapes(self) -> Any:
        """Boxed shapes of all variables; allocates nothing."""
        return jax.eval_shape(
            self._init_variables, jax.ShapeDtypeStruct((2,), jnp.uint32)
        )

    @functools.cached_property
    def _compiled_init(self) -> Any:
        def init(rng: spec.RandomState) -> Any:
            return _plain(meta.unbox(self._init_variables(rng)))

        return jax.jit(init, out_shardings=get_replicate_sharding())

    @functools.cached_property
    def _compiled_evaluate(self) -> Any:
        return jax.jit(self._outputs)

    def _outputs(
        self, params: Any, model_state: Any, batch: spec.Batch, key: Any
    ) -> tuple[Any, Any]:
        """What is evaluated, and what is carried to the next batch."""
        if hasattr(self._model, "outputs"):
            variables = {"params": params, **(model_state or {})}
            with computing_in(self._dtype):
                context = ForwardContext(self._config, over_devices=over_devices)
                found = self._model.outputs(self._module, variables, batch, context)
                return found, None
        logits, state = self.forward(
            params, batch, model_state, spec.ForwardPassMode.EVAL, key, False, 0.0
        )
        loss = self.loss(batch.get("targets"), logits, batch.get("weights"), 0.0)
        outputs = self._metrics.outputs(
            xp=jnp,
            logits=parameter_loss.split(logits)[0],
            batch=batch,
            per_example=loss["per_example"],
        )
        return outputs, state[CARRY] if self._has_carry else None


def _default_init(module: Any, rngs: Any, batch: Mapping[str, Any]) -> Any:
    return module.init(rngs, batch["inputs"], train=False, dropout_rate=0.0)


def _default_forward(
    module: Any,
    variables: Mapping[str, Any],
    batch: spec.Batch,
    context: ForwardContext,
) -> tuple[Any, Any]:
    """The default call. Running statistics that are not wanted, `forward` drops."""
    state = {name: value for name, value in variables.items() if name != "params"}
    rngs = {} if context.rng is None else {"dropout": context.rng}
    result = module.apply(
        variables,
        batch["inputs"],
        train=context.train,
        dropout_rate=context.dropout_rate,
        rngs=rngs,
        mutable=list(state) if context.train and state else False,
    )
    return result if context.train and state else (result, state)


def _is_box(node: Any) -> bool:
    return isinstance(node, Typed)


def _map_boxes(function: Any, boxed: Any) -> Any:
    return jax.tree.map(function, boxed, is_leaf=_is_box)


def _typed_params(variables: Mapping[str, Any], workload: str) -> dict[str, Any]:
    """The parameters of boxed variables; an error that names one without a type."""
    params: dict[str, Any] = _plain(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_box):
        if not _is_box(leaf):
            name = "/".join(str(entry.key) for entry in path)
            raise AlgoPerfError(
                f"Parameter {name} of the JAX model of {workload} has no "
                "ParameterType. Make it with an initializer wrapped in layers.typed, "
                "or with a layer of algoperf.jax_backend.layers."
            )
    return params


def _rebuilt(shapes: Any, tree: Any) -> Any:
    """`tree` in plain dicts with the keys of `shapes`."""
    if isinstance(shapes, dict):
        return {key: _rebuilt(part, tree[key]) for key, part in shapes.items()}
    array = jnp.asarray(tree)
    if array.shape != shapes.shape_tuple:
        raise TypeError(f"shape {array.shape} instead of {shapes.shape_tuple}")
    return array


def _plain(tree: Any) -> Any:
    """Nested mappings (FrozenDict) as plain dicts; other nodes as they are."""
    if isinstance(tree, Mapping):
        return {key: _plain(value) for key, value in tree.items()}
    return tree


def _at_least_float32(tree: Any) -> Any:
    """bfloat16 logits as float32, so that losses and metrics reduce in it."""

    def widen(x: Any) -> Any:
        if isinstance(x, DeferredLogits):
            return x  # wide as they are; their parts are to stay narrow
        if jnp.issubdtype(x.dtype, jnp.floating):
            return at_least_float32(x)
        return x

    return jax.tree.map(widen, tree, is_leaf=lambda x: isinstance(x, DeferredLogits))


@functools.cache
def _array_types() -> frozenset[type]:
    return frozenset({type(jnp.zeros(())), np.ndarray})


def _check_types(params: Any) -> None:
    """Exact types only: one of a submission's own could compute when asked for its value."""
    kinds = {type(leaf) for leaf in jax.tree.leaves(params)} - _array_types()
    odd = sorted(
        kind.__qualname__ for kind in kinds if not issubclass(kind, jax.core.Tracer)
    )
    if odd:
        raise BadSubmission(
            f"the parameters are not arrays: they hold values of type {', '.join(odd)}. "
            "Return arrays of JAX."
        )
