"""What JAX computes of the losses in one piece; `algoperf.losses` has the rest.

Traceable and differentiable; a strength of label smoothing may be traced.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import losses as shared
from algoperf.deferred_logits import DeferredLogits
from algoperf.jax_backend import output_layer


class JaxKernels(shared.Kernels):
    """`algoperf.losses.Kernels` of JAX."""

    __slots__ = ()

    @property
    def xp(self) -> Any:
        """See `Kernels`."""
        return jnp

    def as_array(self, x: Any) -> jax.Array:
        """See `Kernels`."""
        return jnp.asarray(x)

    def softmax(self, logits: Any) -> jax.Array:
        """See `Kernels`."""
        return jax.nn.softmax(logits, axis=-1)

    def sigmoid(self, logits: Any) -> jax.Array:
        """See `Kernels`."""
        return jax.nn.sigmoid(logits)

    def cross_entropy_of_classes(self, logits: Any, labels: Any, smoothing: Any) -> Any:
        """See `Kernels`."""
        labels = labels.astype(jnp.int32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if not shared.is_used(smoothing):
            return losses
        # The same sum over classes, without a [batch, ..., classes] array of labels.
        uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(axis=-1)
        return (1 - smoothing) * losses + smoothing * uniform

    def cross_entropy_of_distributions(self, logits: Any, labels: Any) -> Any:
        """See `Kernels`."""
        return optax.softmax_cross_entropy(logits, labels)

    def binary_cross_entropy(self, logits: Any, labels: Any) -> Any:
        """See `Kernels`."""
        return optax.sigmoid_binary_cross_entropy(logits, labels)

    def ctc(self, scores: Any, is_frame: Any, targets: Any, is_token: Any) -> Any:
        """See `Kernels`."""
        paddings = (
            (1.0 - is_frame.astype(jnp.float32)),
            (1.0 - is_token.astype(jnp.float32)),
        )
        # optax picks label scores with a matrix product, which TF32 would round to 10 bits.
        with jax.default_matmul_precision("highest"):
            return optax.ctc_loss(scores, paddings[0], targets, paddings[1])

    def by_parts(
        self, logits: DeferredLogits, loss: Callable[..., Any], *others: Any
    ) -> Any:
        """See `Kernels`."""
        return output_layer.by_parts(logits, loss, *others)


_KERNELS = JaxKernels()
# See the functions of the same names in `algoperf.losses`.
loss = functools.partial(shared.loss, _KERNELS)
of_examples = functools.partial(shared.of_examples, _KERNELS)
output_activation = functools.partial(shared.output_activation, _KERNELS)
