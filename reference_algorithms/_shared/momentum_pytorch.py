"""Momentum in PyTorch: torch.optim.SGD without damping, for heavy ball and Nesterov."""

from collections.abc import Callable

import torch

from algoperf import spec

from . import schedules, training_pytorch


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
        optimizer = torch.optim.SGD(
            model_params.parameters(),
            lr=1.0,  # LambdaLR multiplies it with the schedule's rate
            momentum=1.0 - hyperparameters.one_minus_beta1,
            weight_decay=hyperparameters.weight_decay,
            nesterov=nesterov,
            fused=True,
        )
        return training_pytorch.init(optimizer, schedule)

    return init_optimizer_state
