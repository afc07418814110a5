"""NadamW in PyTorch that tunes itself on the clock, by successive halving. See README.md."""

import dataclasses
from typing import Any

import torch

from algoperf import spec
from algoperf.reference_algorithms._shared import functions, training_pytorch
from algoperf.reference_algorithms._shared.factory_pytorch import EPSILON
from algoperf.reference_algorithms._shared.nadamw_pytorch import NadamW
from algoperf.reference_algorithms._shared.training_pytorch import TrainingBatch
from algoperf.reference_algorithms.nadamw.halving import (
    Bracket,
    Tuner,
    candidates,
    regularisation_point,
    schedule,
)


def init(start: functions.Start) -> Tuner:
    """Every candidate starts from the initial parameters."""
    step_hint = start.workload.step_hint
    states = [
        training_pytorch.init(
            NadamW(
                start.params.parameters(),
                betas=(1.0 - candidate.one_minus_beta1, candidate.beta2),
                eps=EPSILON,
                weight_decay=candidate.weight_decay,
            ),
            schedule(candidate.learning_rate, step_hint),
        )
        for candidate in candidates()
    ]
    parked: list[Any] = [(_copied(start.params), start.model_state) for _ in states]
    parked[0] = None  # with the harness
    like = next(start.params.parameters()).detach()
    totals = [like.new_zeros(()) for _ in states]
    return Tuner(Bracket.of(step_hint), states, parked, totals)


def _copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers."""
    return {name: x.detach().clone() for name, x in model.state_dict().items()}


def take_step(step: functions.Step) -> spec.UpdateReturn:
    """One step of the current candidate; waits for the device after a rung only."""
    tuner: Tuner = step.optimizer_state

    def measured(
        data: TrainingBatch, optimizer: torch.optim.Optimizer, global_step: int
    ) -> tuple[torch.Tensor, spec.ModelAuxiliaryState]:
        loss, model_state = training_pytorch.plain_gradient(
            data, optimizer, global_step
        )
        tuner.count_loss(loss)
        return loss, model_state

    of_current = tuner.states[tuner.bracket.current]
    _, model, model_state = training_pytorch.take_step(
        dataclasses.replace(step, optimizer_state=of_current), measured
    )
    parked = tuner.count_step(lambda: (_copied(model), model_state))
    if parked is not None:
        values, model_state = parked
        model.load_state_dict(values)
    return tuner, model, model_state


get_batch_size, init_optimizer_state, update_params, data_selection = (
    functions.submission(init, take_step, point=regularisation_point)
)
