"""Plain SGD on digits, with the fault that the hyperparameter `fault` names."""

import torch

from algoperf import spec


def get_batch_size(workload_name):
    return 1_000


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    rate = hyperparameters.learning_rate
    return {"sgd": torch.optim.SGD(model_params.parameters(), lr=rate)}


def update_params(
    workload,
    current_param_container,
    current_params_types,
    model_state,
    hyperparameters,
    batch,
    loss_type,
    optimizer_state,
    eval_results,
    global_step,
    rng,
):
    optimizer_state["sgd"].zero_grad()
    logits, state = workload.model_fn(
        current_param_container,
        batch,
        model_state,
        spec.ForwardPassMode.TRAIN,
        rng,
        update_batch_norm=True,
    )
    loss = workload.loss_fn(batch["targets"], logits)
    (loss["summed"] / loss["n_valid_examples"]).backward()
    optimizer_state["sgd"].step()
    if workload.metrics_logger is not None:
        rate = hyperparameters.learning_rate
        workload.metrics_logger.append_scalar_metrics(
            {"learning_rate": rate}, global_step
        )
    return optimizer_state, current_param_container, state


def data_selection(
    workload,
    input_queue,
    optimizer_state,
    current_param_container,
    model_state,
    hyperparameters,
    global_step,
    rng,
):
    batch = dict(next(input_queue))
    fault = getattr(hyperparameters, "fault", "none")
    if fault == "unscaled":
        mean, deviation = 0.1307, 0.3081
        batch["inputs"] = (batch["inputs"] * deviation + mean) * 255
    return batch
