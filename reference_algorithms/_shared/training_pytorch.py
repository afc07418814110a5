"""The training step of the PyTorch reference algorithms, for one process or several."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from algoperf import spec

from . import training_log
from .functions import Step
from .regularisation import Regularisation, regularisation
from .schedules import Schedule


def init(optimizer: torch.optim.Optimizer, schedule: Schedule) -> dict[str, Any]:
    """The optimizer state of a run; both members have a `state_dict`.

    The optimizer's own rate must be 1.0: LambdaLR multiplies it with the schedule's.
    """
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: float(schedule(step))
    )
    return {"optimizer": optimizer, "scheduler": scheduler}


def _global_mean(loss: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss to differentiate in this process, and the global mean loss (detached).

    DistributedDataParallel averages gradients over processes. So each process
    differentiates its sum of losses times (number of processes / global number of valid
    examples): the average is the gradient of one global mean, also where processes have
    unequal counts.
    """
    summed, num_valid = loss["summed"], loss["n_valid_examples"]
    if not isinstance(num_valid, torch.Tensor):
        # Filled on the device: copying a Python number there would wait for it.
        num_valid = summed.new_full((), num_valid)
    totals = torch.stack([summed.detach(), num_valid.detach().to(summed.dtype)])
    num_processes = 1
    if dist.is_available() and dist.is_initialized():
        num_processes = dist.get_world_size()
        dist.all_reduce(totals)
    return summed * (num_processes / totals[1]), totals[0] / totals[1]


@dataclass(frozen=True)
class TrainingBatch:
    """A batch with all that a forward and a backward pass on it need."""

    workload: spec.Workload
    model: torch.nn.Module
    model_state: spec.ModelAuxiliaryState
    batch: spec.Batch
    rng: spec.RandomState
    hyperparameters: spec.Hyperparameters

    @property
    def settings(self) -> Regularisation:
        """The regularisation of the point."""
        return regularisation(self.hyperparameters)

    def forward(
        self, *, update_batch_norm: bool
    ) -> tuple[torch.Tensor, spec.ModelAuxiliaryState]:
        """Logits and the new model state. The same rng, so the same dropout masks."""
        return self.workload.model_fn(
            self.model,
            self.batch,
            self.model_state,
            spec.ForwardPassMode.TRAIN,
            self.rng,
            update_batch_norm=update_batch_norm,
            dropout_rate=self.settings.dropout_rate,
        )

    def backward(
        self, *, update_batch_norm: bool = True
    ) -> tuple[torch.Tensor, spec.ModelAuxiliaryState]:
        """Adds to the gradients that of the global mean loss.

        Returns the loss, detached, and the new model state.
        """
        logits, model_state = self.forward(update_batch_norm=update_batch_norm)
        loss = self.workload.loss_fn(
            self.batch["targets"],
            logits,
            mask_batch=self.batch.get("weights"),
            label_smoothing=self.settings.label_smoothing,
        )
        objective, mean_loss = _global_mean(loss)
        objective.backward()
        return mean_loss, model_state


# Fills the gradients, given the batch, the optimizer and the step; see `backward`.
FillGradients = Callable[
    [TrainingBatch, torch.optim.Optimizer, int],
    tuple[torch.Tensor, spec.ModelAuxiliaryState],
]


def plain_gradient(
    data: TrainingBatch, optimizer: torch.optim.Optimizer, global_step: int
) -> tuple[torch.Tensor, spec.ModelAuxiliaryState]:
    """One gradient at the parameters: what most algorithms follow."""
    del optimizer, global_step
    return data.backward()


def _clip_or_measure(
    model: torch.nn.Module, grad_clip: float | None, is_wanted: bool
) -> torch.Tensor | None:
    """The global gradient norm before clipping, if needed; clips if asked to."""
    if grad_clip is not None:
        return torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    if not is_wanted:
        return None
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads)


def take_step(
    step: Step, fill_gradients: FillGradients = plain_gradient
) -> spec.UpdateReturn:
    """One step on the global mean loss; enqueued, not awaited (but for every 100th)."""
    model, state = step.params, step.optimizer_state
    data = TrainingBatch(
        step.workload, model, step.model_state, step.batch, step.rng, step.point
    )
    optimizer = state["optimizer"]
    optimizer.zero_grad()
    mean_loss, model_state = fill_gradients(data, optimizer, step.global_step)
    is_due = training_log.is_due(step.global_step)
    grad_norm = _clip_or_measure(model, data.settings.grad_clip, is_due)
    optimizer.step()
    state["scheduler"].step()
    if is_due:
        training_log.append(
            step.workload, step.global_step, loss=mean_loss, grad_norm=grad_norm
        )
    return state, model, model_state
