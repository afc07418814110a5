"""Template of a submission in JAX: SGD with momentum. Copy the folder and change it.

A submission is one file that defines the functions below; `submission_pytorch.py` is
the same for PyTorch. It may import files of its own folder, packages listed in a
`requirements.txt` beside it, and of the benchmark only `spec` and
`jax_sharding_utils`. The clock runs during these functions; it stands still while the
harness sets up the data and evaluates.

`hyperparameters` is one point of `tuning_search_space.json`, as a namedtuple; it is
None for a self-tuning submission, which needs no such file.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from algoperf import jax_sharding_utils, spec

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
    """The global batch size: over all devices together.

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
    """What the update needs to remember: any tree of arrays. Checkpoints save it."""
    del workload, model_state, hyperparameters, rng
    momentum = jax.tree.map(jnp.zeros_like, model_params)
    return {"momentum": jax_sharding_utils.replicate(momentum)}


# `workload` is static: its functions are traced once. The old parameters and momentum
# are donated: the new ones take over their memory.
@functools.partial(
    jax.jit, static_argnames="workload", donate_argnames=("params", "momentum")
)
def train_step(
    workload: spec.Workload,
    params: Any,
    momentum: Any,
    model_state: Any,
    hyperparameters: Any,
    batch: spec.Batch,
    learning_rate: Any,
    rng: Any,
) -> tuple[Any, Any, Any]:
    """Forward and backward pass, and the update, as one program over all devices."""

    def mean_loss(params: Any) -> tuple[jax.Array, Any]:
        logits, new_model_state = workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            rng,
            update_batch_norm=True,
        )
        loss = workload.loss_fn(
            batch["targets"], logits, mask_batch=batch.get("weights")
        )
        # Batches are sharded over the devices; a sum in here is a sum over all of them.
        return loss["summed"] / loss["n_valid_examples"], new_model_state

    grads, model_state = jax.grad(mean_loss, has_aux=True)(params)
    momentum = jax.tree.map(
        lambda m, g, p: (
            hyperparameters.momentum * m + g + hyperparameters.weight_decay * p
        ),
        momentum,
        grads,
        params,
    )
    params = jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum)
    # Every device keeps a copy of the parameters and of what belongs to them.
    return jax.lax.with_sharding_constraint(
        (params, momentum, model_state), jax_sharding_utils.get_replicate_sharding()
    )


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
    """One training step; called with keyword arguments.

    `eval_results` are the (step, metrics) of all evaluations so far. With one more
    parameter named `train_state` it would also be told the time spent so far. It may
    raise `spec.TrainingCompleteError` to end the run. Reading a value from a device
    (`float(loss)`) waits for the device: do it seldom.
    """
    del current_params_types, loss_type, eval_results
    # Linear decay. The step hint is about the number of steps that fit into the budget.
    remaining = max(0.0, 1.0 - global_step / workload.step_hint)
    params, momentum, model_state = train_step(
        workload,
        current_param_container,
        optimizer_state["momentum"],
        model_state,
        hyperparameters,
        batch,
        hyperparameters.learning_rate * remaining,
        rng,
    )
    return {"momentum": momentum}, params, model_state


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
