"""NadamW in JAX: the published rule, not optax.nadamw's. See README.md."""

from algoperf import spec
from algoperf.reference_algorithms._shared import schedules, training_jax
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.nadamw_jax import nadamw
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_jax import update_params

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]

EPSILON = 1e-8


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    """Zero moments; warm-up and cosine decay to 0 at the step hint."""
    del model_state, rng
    schedule = schedules.warmup_cosine(hyperparameters, workload.step_hint)
    optimizer = nadamw(
        training_jax.on_device(schedule),
        b1=1.0 - hyperparameters.one_minus_beta1,
        b2=hyperparameters.beta2,
        eps=EPSILON,
        weight_decay=hyperparameters.weight_decay,
    )
    return training_jax.init(workload, optimizer, model_params, hyperparameters)
