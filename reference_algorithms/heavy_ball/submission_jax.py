"""Heavy ball momentum in JAX: optax's trace after L2 decay. See README.md."""

import optax

from algoperf import spec
from algoperf.reference_algorithms._shared import schedules, training_jax
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_jax import update_params

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    """Zero momentum; warm-up, linear decay, then a constant rate."""
    del model_state, rng
    schedule = schedules.warmup_linear(hyperparameters, workload.step_hint)
    optimizer = optax.chain(
        optax.add_decayed_weights(hyperparameters.weight_decay),
        optax.sgd(
            training_jax.on_device(schedule),
            momentum=1.0 - hyperparameters.one_minus_beta1,
            nesterov=False,
        ),
    )
    return training_jax.init(workload, optimizer, model_params, hyperparameters)
