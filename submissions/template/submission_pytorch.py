"""Template of a submission in PyTorch: SGD with momentum. Copy the folder, change it.

The same algorithm as `submission.py`, which explains more. Of the benchmark a PyTorch
submission may import `spec` and `pytorch_utils`.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist

from algoperf import spec
from algoperf.pytorch_utils import pytorch_setup

BATCH_SIZES = {
    "criteo1tb": 262_144,
    "fastmri": 32,
    "imagenet_resnet": 1_024,
    "imagenet_vit": 1_024,
    "librispeech_conformer": 256,
    "librispeech_deepspeech": 256,
    "ogbg": 512,
    "wmt": 128,
    "finewebedu_lm": 64,
}


def get_batch_size(workload_name: str) -> int:
    """The global batch size: over all processes together.

    After a ValueError the harness asks for the base workload of a variant; a `_mini`
    workload then gets the batch size of its definition.
    """
    if workload_name not in BATCH_SIZES:
        raise ValueError(f"No batch size for {workload_name!r}.")
    return BATCH_SIZES[workload_name]


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    """A dict. Checkpoints save its members by their `state_dict`."""
    del model_state, rng
    optimizer = torch.optim.SGD(
        model_params.parameters(),
        lr=hyperparameters.learning_rate,
        momentum=hyperparameters.momentum,
        weight_decay=hyperparameters.weight_decay,
    )
    # The step hint is about the number of steps that fit into the budget.
    scheduler = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=0.0, total_iters=workload.step_hint
    )
    return {"optimizer": optimizer, "scheduler": scheduler}


def global_mean(loss: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss to differentiate: the mean over the valid examples of all processes.

    Each process has a part of the batch, and DistributedDataParallel averages gradients
    over processes. As processes can hold unequal numbers of valid examples, the sum of
    losses is divided by the number over all of them.
    """
    use_ddp, _, _, num_devices = pytorch_setup()
    num_valid = torch.as_tensor(loss["n_valid_examples"]).to(loss["summed"])
    if use_ddp:
        num_valid = num_valid.clone()
        dist.all_reduce(num_valid)
        return loss["summed"] * num_devices / num_valid
    return loss["summed"] / num_valid


def update_params(
    workload: spec.Workload,
    current_param_container: spec.ParameterContainer,
    current_params_types: spec.ParameterTypeTree,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    batch: spec.Batch,
    loss_type: spec.LossType,
    optimizer_state: spec.OptimizerState,
    eval_results: spec.EvalResults,
    global_step: int,
    rng: spec.RandomState,
) -> spec.UpdateReturn:
    """One training step; called with keyword arguments."""
    del current_params_types, hyperparameters, loss_type, eval_results, global_step
    optimizer_state["optimizer"].zero_grad()
    logits, model_state = workload.model_fn(
        current_param_container,
        batch,
        model_state,
        spec.ForwardPassMode.TRAIN,
        rng,
        update_batch_norm=True,
    )
    loss = workload.loss_fn(batch["targets"], logits, mask_batch=batch.get("weights"))
    global_mean(loss).backward()
    optimizer_state["optimizer"].step()
    optimizer_state["scheduler"].step()
    return optimizer_state, current_param_container, model_state


def prepare_for_eval(
    workload: spec.Workload,
    current_param_container: spec.ParameterContainer,
    current_params_types: spec.ParameterTypeTree,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    loss_type: spec.LossType,
    optimizer_state: spec.OptimizerState,
    eval_results: spec.EvalResults,
    global_step: int,
    rng: spec.RandomState,
) -> spec.UpdateReturn:
    """Optional, may be left out. Called, timed, before each evaluation.

    What it returns is evaluated and trained on: the place to swap in averaged weights.
    """
    del workload, current_params_types, hyperparameters, loss_type
    del eval_results, global_step, rng
    return optimizer_state, current_param_container, model_state


def data_selection(
    workload: spec.Workload,
    input_queue: Iterator[spec.Batch],
    optimizer_state: spec.OptimizerState,
    current_param_container: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    global_step: int,
    rng: spec.RandomState,
) -> spec.Batch:
    """The batch of this step: here the next of an endless, shuffled queue.

    It may draw several batches, leave some out, or return one again.
    """
    del workload, optimizer_state, current_param_container, model_state
    del hyperparameters, global_step, rng
    return next(input_queue)
