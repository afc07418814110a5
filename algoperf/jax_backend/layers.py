"""Flax layers whose parameters know their `ParameterType`, with published defaults.

The type is set where the parameter is made, by the initializer: `typed(initializer,
type)` wraps its value in a box that `model.BoundModel` takes off again. The layers are
functions that return the Flax modules of the same name, so that parameters keep the
usual Flax names (`Dense_0/kernel`, `LayerNorm_0/scale`, `Embed_0/embedding`), which
submissions look for.

Defaults, from the published benchmark: kernels LeCun normal (truncated at two standard
deviations), biases 0, LayerNorm epsilon 1e-6, convolutions padded "SAME".

All compute in `compute_dtype()`: a layer written in a model file should pass it on as
`dtype` too, and do its own reductions (softmax, means, statistics) in float32.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from flax.core import meta

from algoperf.spec import ParameterType

Initializer = Callable[..., Any]

_compute_dtype: contextvars.ContextVar[Any] = contextvars.ContextVar(
    "compute_dtype", default=None
)
# (index, batch size): see `example_of_batch`.
_place_in_batch: contextvars.ContextVar[tuple[Any, int] | None] = (
    contextvars.ContextVar("place_in_batch", default=None)
)
_LECUN_NORMAL = nn.initializers.lecun_normal()
_ZEROS = nn.initializers.zeros_init()
_ONES = nn.initializers.ones_init()
# Flax's own default for tables: variance 1 / features.
_EMBEDDING = nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


class Typed(struct.PyTreeNode, meta.AxisMetadata[Any]):
    """A parameter together with its type and whether it belongs to the output layer."""

    value: Any
    type: ParameterType = struct.field(pytree_node=False)
    is_output: bool = struct.field(pytree_node=False, default=False)

    def unbox(self) -> Any:
        """The parameter itself."""
        return self.value

    def replace_boxed(self, val: Any) -> "Typed":
        """The same box around another value."""
        return self.replace(value=val)

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Typed":
        """Stacked parameters (`nn.scan`, `nn.vmap`) have the type of one."""
        return self

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Typed":
        """See `add_axis`."""
        return self


def typed(
    initializer: Initializer, type: ParameterType, *, is_output: bool = False
) -> Initializer:
    """An initializer that makes parameters of `type`, in the box that says so."""

    def initialize(*args: Any, **kwargs: Any) -> Typed:
        return Typed(initializer(*args, **kwargs), type, is_output)

    return initialize


def wide_dtype(x: jax.Array) -> Any:
    """float64 if `x` has it, else float32."""
    return jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def at_least_float32(x: jax.Array) -> jax.Array:
    """`x` in its `wide_dtype`."""
    return x.astype(wide_dtype(x))


def compute_dtype() -> Any:
    """What layers compute in: bfloat16 with `--precision bf16`, else None.

    None is Flax's default: the common type of inputs and parameters. To be read while
    the model is built or called.
    """
    return _compute_dtype.get()


@contextlib.contextmanager
def computing_in(dtype: Any) -> Iterator[None]:
    """Sets `compute_dtype()` for this thread while a model is built or called."""
    token = _compute_dtype.set(dtype)
    try:
        yield
    finally:
        _compute_dtype.reset(token)


@contextlib.contextmanager
def example_of_batch(index: Any, batch_size: int) -> Iterator[None]:
    """Within, a batch of one is example `index` of a batch of that size.

    Dropout then drops what it would drop of that example in the whole batch.
    """
    token = _place_in_batch.set((index, batch_size))
    try:
        yield
    finally:
        _place_in_batch.reset(token)


def Dense(
    features: int,
    *,
    use_bias: bool = True,
    kernel_init: Initializer = _LECUN_NORMAL,
    bias_init: Initializer = _ZEROS,
    kernel_type: ParameterType = ParameterType.WEIGHT,
    bias_type: ParameterType = ParameterType.BIAS,
    is_output: bool = False,
    name: str | None = None,
) -> nn.Dense:
    """[..., inputs] -> [..., features]; `kernel` [inputs, features] and `bias`."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=compute_dtype(),
        kernel_init=typed(kernel_init, kernel_type, is_output=is_output),
        bias_init=typed(bias_init, bias_type, is_output=is_output),
        name=name,
    )


def DenseGeneral(
    features: int | Sequence[int],
    *,
    axis: int | Sequence[int] = -1,
    use_bias: bool = True,
    kernel_init: Initializer = _LECUN_NORMAL,
    bias_init: Initializer = _ZEROS,
    kernel_type: ParameterType = ParameterType.WEIGHT,
    bias_type: ParameterType = ParameterType.BIAS,
    name: str | None = None,
) -> nn.DenseGeneral:
    """A dense layer from the axes `axis` to one or several: an attention's heads.

    `kernel` is [*inputs, *features], `bias` [*features]. They are initialised as those of
    the dense layer that has one axis instead: the fans are those of all heads.
    """
    return nn.DenseGeneral(
        features,
        axis=axis,
        use_bias=use_bias,
        dtype=compute_dtype(),
        kernel_init=typed(kernel_init, kernel_type),
        bias_init=typed(bias_init, bias_type),
        dot_general_cls=lambda: _product_of_matrices,
        name=name,
    )


def _product_of_matrices(
    x: jax.Array, kernel: jax.Array, axes: Any, precision: Any = None
) -> jax.Array:
    """The product over the last axes of `x` and the first of `kernel`, as a matrix's.

    With several axes XLA's CPU code transposes more, at 3 % of the Transformer's memory
    traffic.
    """
    summed = len(axes[0][0])
    rows, columns = x.shape[: x.ndim - summed], kernel.shape[summed:]
    inputs = math.prod(kernel.shape[:summed])
    matrices = x.reshape(*rows, inputs), kernel.reshape(inputs, -1)
    return jnp.matmul(*matrices, precision=precision).reshape(*rows, *columns)


def Conv(
    features: int,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Any = "SAME",
    feature_group_count: int = 1,
    use_bias: bool = True,
    kernel_init: Initializer = _LECUN_NORMAL,
    bias_init: Initializer = _ZEROS,
    is_output: bool = False,
    name: str | None = None,
) -> nn.Conv:
    """[batch, *space, in] -> [batch, *space, features]; `kernel` [*size, in, out]."""
    is_point = math.prod(kernel_size) == feature_group_count == 1
    is_product = is_point and isinstance(padding, str)
    return nn.Conv(
        features,
        tuple(kernel_size),
        strides=strides,
        padding=padding,
        feature_group_count=feature_group_count,
        use_bias=use_bias,
        dtype=compute_dtype(),
        kernel_init=typed(kernel_init, ParameterType.CONV_WEIGHT, is_output=is_output),
        bias_init=typed(bias_init, ParameterType.BIAS, is_output=is_output),
        conv_general_dilated=_pointwise if is_product and _is_on_cpu() else None,
        name=name,
    )


def _is_on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _pointwise(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], *_: Any, **__: Any
) -> jax.Array:
    """A convolution with a kernel of one point, as a product of two matrices.

    XLA's CPU code takes 2 to 6 times as long for the gradient of the kernel as a
    convolution, and up to 3 times as long where the inputs are no matrix. GPUs have
    convolutions of their own, with layouts to suit them.
    """
    x = x[:, *(slice(None, None, stride) for stride in strides)]
    inputs, features = kernel.shape[-2:]
    y = x.reshape(-1, inputs) @ kernel.reshape(inputs, features)
    return y.reshape(*x.shape[:-1], features)


def LayerNorm(
    *,
    epsilon: float = 1e-6,
    use_scale: bool = True,
    use_bias: bool = True,
    scale_init: Initializer = _ONES,
    bias_init: Initializer = _ZEROS,
    reduction_axes: int | Sequence[int] = -1,
    feature_axes: int | Sequence[int] = -1,
    name: str | None = None,
) -> nn.LayerNorm:
    """Normalises over `reduction_axes`, with float32 statistics; `scale` and `bias`."""
    return nn.LayerNorm(
        epsilon=epsilon,
        use_scale=use_scale,
        use_bias=use_bias,
        dtype=compute_dtype(),
        scale_init=typed(scale_init, ParameterType.LAYER_NORM_SCALE),
        bias_init=typed(bias_init, ParameterType.LAYER_NORM_BIAS),
        reduction_axes=reduction_axes,
        feature_axes=feature_axes,
        # E[x^2] - E[x]^2 cancels for a large mean; PyTorch computes the stable form
        # too.
        use_fast_variance=False,
        name=name,
    )


def Embed(
    num_embeddings: int,
    features: int,
    *,
    embedding_init: Initializer = _EMBEDDING,
    is_output: bool = False,
    name: str | None = None,
) -> nn.Embed:
    """int [...] -> [..., features]; `embedding` [num_embeddings, features]."""
    return nn.Embed(
        num_embeddings,
        features,
        dtype=compute_dtype(),
        embedding_init=typed(
            embedding_init, ParameterType.EMBEDDING, is_output=is_output
        ),
        name=name,
    )


@jax.custom_jvp
def gram(vectors: jax.Array) -> jax.Array:
    """All products of the vectors of an example: [batch, n, dim] -> [batch, n, n].

    One CPU multiplies a small matrix three times as fast alone as in a batch of them
    (27 x 128: 52 instead of 158 ms for 8,192).
    """
    if _is_on_cpu() and jax.device_count() == 1:
        products: jax.Array = jax.lax.map(lambda x: x @ x.T, vectors)
        return products
    return _products(vectors, vectors)


@gram.defjvp
def _gram_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Since the result is symmetric, its derivative needs one product, not two."""
    half = _products(tangents[0], primals[0])
    return gram(*primals), half + half.swapaxes(1, 2)


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum("bid,bjd->bij", a, b)


def stored(x: jax.Array) -> jax.Array:
    """The same array, and its gradient, computed once: for what many places read.

    XLA's CPU compiler fuses cheap operations into all that reads them: every residual
    block, and its gradient, would compute the sums of all blocks before it once more.
    It drops optimization barriers before it fuses, but fuses nothing into a choice that
    it cannot foresee. The GPU compiler needs no help.
    """
    if not _is_on_cpu():
        return x
    always = jax.lax.optimization_barrier(jnp.array(True))
    x = jax.lax.cond(always, lambda x: x, jnp.zeros_like, x)
    return x


def dropout(
    x: jax.Array,
    rate: Any,
    rng: Any,
    *,
    deterministic: bool = False,
    broadcast_dims: Sequence[int] = (),
) -> jax.Array:
    """Zeroes each element with probability `rate` and divides the others by 1 - rate.

    rate: a float or a traced scalar in [0, 1]; a traced one may change without a
    recompile. 0 is exactly the identity, 1 gives zeros. rng: a key; unused when
    deterministic. broadcast_dims: axes along which elements are dropped together (whole
    channels).
    """
    if deterministic or (isinstance(rate, int | float) and rate == 0):
        return x
    rate = jnp.asarray(rate, jnp.float32)
    shape = [1 if i in broadcast_dims else size for i, size in enumerate(x.shape)]
    kept = stored(_kept(rng, 1 - rate, shape))
    # The divisor is kept from 0, because a gradient through 0/0 would be NaN.
    scale = (1 / jnp.where(rate < 1, 1 - rate, 1)).astype(x.dtype)
    return jnp.where(kept, x * scale, jnp.zeros((), x.dtype))


def _kept(rng: Any, chance: Any, shape: list[int]) -> jax.Array:
    """Which elements are not dropped; of one example of a batch, as in the batch."""
    place = _place_in_batch.get()
    if place is None:
        return jax.random.bernoulli(rng, chance, shape)
    if shape[0] != 1:
        raise ValueError(f"dropout of one example got a batch of shape {shape}")
    index, batch_size = place
    whole = jax.random.bernoulli(rng, chance, [batch_size, *shape[1:]])
    kept: jax.Array = jax.lax.dynamic_index_in_dim(whole, index, axis=0)
    return kept


class Dropout(nn.Module):
    """`dropout` with a key of the `dropout` stream, drawn only when training."""

    broadcast_dims: Sequence[int] = ()

    @nn.compact
    def __call__(self, x: jax.Array, rate: Any, *, train: bool) -> jax.Array:
        """x: any shape; rate as in `dropout`; the identity unless `train`."""
        if not train or (isinstance(rate, int | float) and rate == 0):
            return x
        key = self.make_rng("dropout")
        return dropout(x, rate, key, broadcast_dims=self.broadcast_dims)


def attention_projection(
    features: int | Sequence[int],
    type: ParameterType,
    *,
    axis: int | Sequence[int] = -1,
    name: str,
) -> nn.DenseGeneral:
    """A projection of attention with a bias, heads as an axis of their own; Xavier uniform."""
    return DenseGeneral(
        features,
        axis=axis,
        kernel_init=nn.initializers.xavier_uniform(),
        kernel_type=type,
        bias_type=ParameterType.ATTENTION_BIAS,
        name=name,
    )
