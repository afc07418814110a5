"""The training step of the JAX reference algorithms: one jitted program per run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import spec
from algoperf.jax_sharding_utils import get_replicate_sharding

from . import norms_jax, training_log
from .functions import Step
from .regularisation import Regularisation, regularisation

TrainStep = Callable[..., tuple[Any, Any, Any, dict[str, jax.Array]]]
# (params, model state, batch, rng, update_batch_norm=True) -> (loss, new model state)
MeanLoss = Callable[..., tuple[jax.Array, Any]]
# Of a mean loss, the function of (params, model state, batch, rng, optimizer state) that
# returns ((loss, new model state), gradients).
ValueAndGrad = Callable[[MeanLoss], Callable[..., tuple[tuple[jax.Array, Any], Any]]]


def plain_gradient(mean_loss: MeanLoss) -> Callable[..., Any]:
    """One gradient at the parameters: what most algorithms follow."""
    value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)
    return lambda params, model_state, batch, rng, state: value_and_grad(
        params, model_state, batch, rng
    )


def init(
    workload: spec.Workload,
    optimizer: optax.GradientTransformation,
    params: spec.ParameterContainer,
    hyperparameters: spec.Hyperparameters,
    *,
    value_and_grad: ValueAndGrad = plain_gradient,
    state_shardings: Any = None,
) -> tuple[optax.OptState, TrainStep]:
    """The optimizer state of a run: optax's arrays and the jitted step.

    state_shardings: of the arrays, a prefix of their tree; None replicates all. A
    checkpoint saves the arrays and takes the step from a fresh `init`.
    """
    shardings = state_shardings or get_replicate_sharding()
    state = jax.jit(optimizer.init, out_shardings=shardings)(params)
    loss = mean_loss_of(workload, regularisation(hyperparameters))
    grad_clip = regularisation(hyperparameters).grad_clip
    step = make_train_step(
        value_and_grad(loss), optimizer.update, grad_clip, state_shardings=shardings
    )
    return state, step


def mean_loss_of(workload: spec.Workload, settings: Regularisation) -> MeanLoss:
    """The mean training loss over the valid examples of a global batch.

    Arrays of the batch are sharded along the mesh axis `batch`, as the harness places
    them; so one sum in the program is a sum over all devices.
    """

    def mean_loss(
        params: Any,
        model_state: Any,
        batch: spec.Batch,
        rng: Any,
        update_batch_norm: bool = True,
    ) -> tuple[jax.Array, Any]:
        logits, new_model_state = workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            rng,
            update_batch_norm=update_batch_norm,
            dropout_rate=settings.dropout_rate,
        )
        loss = workload.loss_fn(
            batch["targets"],
            logits,
            mask_batch=batch.get("weights"),
            label_smoothing=settings.label_smoothing,
        )
        return loss["summed"] / loss["n_valid_examples"], new_model_state

    return mean_loss


def make_train_step(
    gradient: Callable[..., Any],
    update_fn: optax.TransformUpdateFn,
    grad_clip: float | None,
    *,
    state_shardings: Any,
) -> TrainStep:
    """A jitted function of (params, optax state, model state, batch, rng).

    It returns the new params, optax state and model state, and a dict of device scalars
    (`loss`, `grad_norm`). The first three arguments are donated: their buffers are
    reused.
    """

    def train_step(
        params: Any, state: optax.OptState, model_state: Any, batch: Any, rng: Any
    ) -> tuple[Any, Any, Any, dict[str, jax.Array]]:
        (loss, model_state), grads = gradient(params, model_state, batch, rng, state)
        grad_norm = norms_jax.global_norm(grads)
        if grad_clip is not None:
            grads = _clip(grads, grad_norm, grad_clip)
        updates, state = update_fn(grads, state, params)
        params = optax.apply_updates(params, updates)
        return params, state, model_state, {"loss": loss, "grad_norm": grad_norm}

    replicated = get_replicate_sharding()
    return jax.jit(
        train_step,
        donate_argnums=(0, 1, 2),
        in_shardings=(replicated, state_shardings, replicated, None, replicated),
        out_shardings=(replicated, state_shardings, replicated, replicated),
    )


def _clip(grads: Any, norm: jax.Array, max_norm: float) -> Any:
    """The published rule; `optax.clip_by_global_norm` adds no 1e-6 to the norm."""
    scale = jnp.minimum(max_norm / (norm + 1e-6), 1.0)
    return jax.tree.map(lambda grad: grad * scale, grads)


def take_step(step: Step) -> spec.UpdateReturn:
    """One step on the global mean loss; enqueued, not awaited (but for every 100th)."""
    state, train_step = step.optimizer_state
    params, state, model_state, scalars = train_step(
        step.params, state, step.model_state, step.batch, step.rng
    )
    if training_log.is_due(step.global_step):
        training_log.append(step.workload, step.global_step, **scalars)
    return (state, train_step), params, model_state
