"""In the style of submissions written for the published API, JAX."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
import rules  # a sibling in the submission's folder
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from algoperf import jax_sharding_utils, spec

_GRAD_CLIP_EPS = 1e-6


def get_batch_size(workload_name: str) -> int:
    if workload_name == "mnist":
        return 64
    if workload_name == "wmt":
        return 128
    raise ValueError(f"Unsupported workload name: {workload_name}.")


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    del model_state, rng
    params_zeros_like = jax.tree.map(
        lambda s: jnp.zeros(s.shape_tuple), workload.param_shapes
    )
    init_fn, update_fn = rules.optimizer(hyperparameters, workload.step_hint)
    optimizer_state = init_fn(params_zeros_like)
    assert jax.tree.structure(workload.model_params_types) == jax.tree.structure(
        model_params
    )
    return optimizer_state, update_fn


def train_step(
    workload,
    update_fn,
    model_state,
    optimizer_state,
    params,
    batch,
    rng,
    clip,
    smoothing,
):
    def loss_fn(params):
        logits, new_model_state = workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            rng,
            update_batch_norm=True,
        )
        loss_dict = workload.loss_fn(
            label_batch=batch["targets"],
            logits_batch=logits,
            mask_batch=batch.get("weights"),
            label_smoothing=smoothing,
        )
        return loss_dict["summed"], (loss_dict["n_valid_examples"], new_model_state)

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (summed, (n_valid, new_model_state)), grad = grad_fn(params)
    loss = summed / n_valid
    grad = jax.tree.map(lambda x: x / n_valid, grad)
    grad_norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grad)))
    scale = jax.lax.clamp(min=0.0, x=clip / (grad_norm + _GRAD_CLIP_EPS), max=1.0)
    grad = jax.tree.map(lambda x: x * scale, grad)
    updates, new_optimizer_state = update_fn(grad, optimizer_state, params)
    return (
        new_optimizer_state,
        optax.apply_updates(params, updates),
        new_model_state,
        loss,
        grad_norm,
    )


@functools.cache
def compiled(workload, update_fn):
    replicated = NamedSharding(jax_sharding_utils.get_mesh(), P())
    assert replicated == jax_sharding_utils.get_replicate_sharding()
    batch = jax_sharding_utils.get_batch_dim_sharding()
    return jax.jit(
        functools.partial(train_step, workload, update_fn),
        in_shardings=(
            replicated,
            replicated,
            replicated,
            batch,
            replicated,
            replicated,
            replicated,
        ),
        out_shardings=replicated,
        donate_argnums=(0, 1, 2),
    )


def update_params(
    workload: spec.Workload,
    current_param_container: spec.ParameterContainer,
    current_params_types: spec.ParameterTypeTree,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    batch: dict[str, spec.Tensor],
    loss_type: spec.LossType,
    optimizer_state: spec.OptimizerState,
    eval_results: list[tuple[int, float]],
    global_step: int,
    rng: spec.RandomState,
    train_state: dict[str, Any] | None = None,
) -> spec.UpdateReturn:
    del current_params_types, eval_results
    assert train_state is not None and train_state["accumulated_submission_time"] >= 0
    assert loss_type is spec.LossType.SOFTMAX_CROSS_ENTROPY
    if global_step == 25:
        raise spec.TrainingCompleteError
    state, update_fn = optimizer_state
    rng = jax.random.fold_in(jax.random.split(rng)[0], 3)
    state, params, new_model_state, loss, grad_norm = compiled(workload, update_fn)(
        model_state, state, current_param_container, batch, rng, 1.0, 0.1
    )
    if workload.metrics_logger is not None and global_step % 5 == 0:
        workload.metrics_logger.append_scalar_metrics(
            {"loss": loss, "grad_norm": grad_norm}, global_step
        )
    return (state, update_fn), params, new_model_state


def prepare_for_eval(
    workload: spec.Workload,
    current_param_container: spec.ParameterContainer,
    current_params_types: spec.ParameterTypeTree,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    loss_type: spec.LossType,
    optimizer_state: spec.OptimizerState,
    eval_results: list[tuple[int, float]],
    global_step: int,
    rng: spec.RandomState,
) -> spec.UpdateReturn:
    return optimizer_state, current_param_container, model_state


def data_selection(
    workload,
    input_queue,
    optimizer_state,
    current_param_container,
    model_state,
    hyperparameters,
    global_step,
    rng,
):
    """Draws twice and joins: twice the batch size."""
    first, second = next(input_queue), next(input_queue)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)
    return jax_sharding_utils.shard_along_batch_dim(joined)
