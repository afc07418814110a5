"""A submission for the toy benchmark: gradient descent on the linear classifier."""

import numpy as np

BATCH_SIZES = {"blobs": 16, "blobs_mini": 8, "blobs_far": 32}


def get_batch_size(workload_name):
    if workload_name not in BATCH_SIZES:
        raise ValueError(f"no batch size for {workload_name}")
    return BATCH_SIZES[workload_name]


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {
        "count": np.zeros((), np.int64),
        "noise": [np.asarray(rng)],
        "rule": np.subtract,
    }


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
    rate = hyperparameters.learning_rate if hyperparameters else 0.1
    logits, _ = workload.model_fn(
        current_param_container, batch, model_state, None, rng, True
    )
    error = workload.output_activation_fn(logits)
    error[np.arange(len(error)), batch["targets"]] -= 1
    grads = {
        "weight": batch["inputs"].T @ error / len(error),
        "bias": error.mean(0),
    }
    rule = optimizer_state["rule"]
    params = {k: rule(v, rate * grads[k]) for k, v in current_param_container.items()}
    noise = np.random.default_rng(np.asarray(rng)).standard_normal()
    params["bias"] = params["bias"] + 1e-3 * noise
    state = {**optimizer_state, "count": optimizer_state["count"] + 1}
    return state, params, model_state


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
    return next(input_queue)
