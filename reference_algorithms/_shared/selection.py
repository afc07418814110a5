"""The data selection of every reference algorithm."""

from collections.abc import Iterator

from algoperf import spec


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
