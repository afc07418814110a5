"""The functions of a submission, made of an algorithm's parts: long signatures stand once.

`factory_jax` and `factory_pytorch` build on this. A competitor's submission spells the
functions out instead; see `submissions/template`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from algoperf import spec

from . import batch_sizes
from .schedules import Schedule


class Functions(NamedTuple):
    """What every submission defines, in the order in which they are unpacked."""

    get_batch_size: spec.GetBatchSize
    init_optimizer_state: spec.InitOptimizerState
    update_params: spec.UpdateParams
    data_selection: spec.DataSelection


@dataclass(frozen=True)
class Start:
    """What `init_optimizer_state` works on."""

    workload: spec.Workload
    params: spec.ParameterContainer
    model_state: spec.ModelAuxiliaryState
    point: Any  # the hyperparameters in use


@dataclass(frozen=True)
class Setup(Start):
    """What an algorithm's rule is built from: the start of a run, and its schedule."""

    schedule: Schedule


@dataclass(frozen=True)
class Step:
    """What a training step works on."""

    workload: spec.Workload
    params: spec.ParameterContainer
    model_state: spec.ModelAuxiliaryState
    point: Any  # the hyperparameters in use
    batch: spec.Batch
    optimizer_state: spec.OptimizerState
    global_step: int
    rng: spec.RandomState


def as_given(hyperparameters: spec.Hyperparameters) -> Any:
    """The point that the harness hands over; None under the self-tuning ruleset."""
    return hyperparameters


def submission(
    init: Callable[[Start], spec.OptimizerState],
    take_step: Callable[[Step], spec.UpdateReturn],
    *,
    point: Callable[[spec.Hyperparameters], Any] = as_given,
    get_batch_size: spec.GetBatchSize = batch_sizes.get_batch_size,
) -> Functions:
    """The functions of a submission.

    init: makes the optimizer state. point: what to use as hyperparameters, by what the
    harness gave.
    """

    def init_optimizer_state(
        workload: spec.Workload,
        model_params: spec.ParameterContainer,
        model_state: spec.ModelAuxiliaryState,
        hyperparameters: spec.Hyperparameters,
        rng: spec.RandomState,
    ) -> spec.OptimizerState:
        """The optimizer state before the first step."""
        del rng
        return init(Start(workload, model_params, model_state, point(hyperparameters)))

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
        """One step on the global mean loss; enqueued, not awaited (but every 100th)."""
        del current_params_types, loss_type, eval_results
        return take_step(
            Step(
                workload,
                current_param_container,
                model_state,
                point(hyperparameters),
                batch,
                optimizer_state,
                global_step,
                rng,
            )
        )

    return Functions(
        get_batch_size, init_optimizer_state, update_params, data_selection
    )


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
    """The next batch of the queue."""
    del workload, optimizer_state, current_param_container, model_state
    del hyperparameters, global_step, rng
    return next(input_queue)


def evaluation_hook(
    prepare: Callable[[spec.OptimizerState, Any], tuple[spec.OptimizerState, Any]],
) -> spec.PrepareForEval:
    """The optional `prepare_for_eval`.

    prepare: from the optimizer state and the parameters to those that are evaluated, and
    from which training continues.
    """

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
        """Before an evaluation: the parameters that are to be evaluated."""
        del workload, current_params_types, hyperparameters, loss_type, eval_results
        del global_step, rng
        state, params = prepare(optimizer_state, current_param_container)
        return state, params, model_state

    return prepare_for_eval
