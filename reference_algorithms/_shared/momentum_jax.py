"""Momentum in JAX: optax's trace after L2 decay, for heavy ball and Nesterov."""

from collections.abc import Callable

import optax

from algoperf import spec

from . import schedules, training_jax


def initializer(*, nesterov: bool) -> Callable[..., spec.OptimizerState]:
    """The submission's `init_optimizer_state`; nesterov: whether steps look ahead."""

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
                nesterov=nesterov,
            ),
        )
        return training_jax.init(workload, optimizer, model_params, hyperparameters)

    return init_optimizer_state
