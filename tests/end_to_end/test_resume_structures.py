"""States that change their structure: killed after an evaluation, resumed, compared bit by bit."""

import math
import signal
from pathlib import Path

import pytest
from processes import num_rows, start, wait_until
from test_resume import check_equal, folder_of, kill_all, result_of, uninterrupted
from toy_fixtures import toy_in_processes, written

__all__ = ["toy_in_processes", "written"]

ALWAYS = """
from algoperf import spec

def get_batch_size(workload_name):
    return 64

def data_selection(workload, input_queue, *rest):
    return next(input_queue)
"""
JAX = """
import jax, optax

def init_optimizer_state(workload, params, model_state, hyperparameters, rng):
    return {"opt": optax.sgd(0.1).init(params), "kept": None, "average": None}

def update_params(*, workload, current_param_container, model_state, batch, optimizer_state,
                  rng, **rest):
    params = optimizer_state["kept"] or current_param_container
    def mean_loss(params):
        logits, state = workload.model_fn(
            params, batch, model_state, spec.ForwardPassMode.TRAIN, rng, True)
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
        return loss["summed"] / loss["n_valid_examples"], state
    grads, model_state = jax.grad(mean_loss, has_aux=True)(params)
    updates, opt = optax.sgd(0.1).update(grads, optimizer_state["opt"], params)
    return ({**optimizer_state, "opt": opt, "kept": None},
            optax.apply_updates(params, updates), model_state)

def prepare_for_eval(*, current_param_container, model_state, optimizer_state, **rest):
    old = optimizer_state["average"] or current_param_container
    average = jax.tree.map(lambda a, p: 0.5 * (a + p), old, current_param_container)
    kept = {"kept": current_param_container, "average": average}
    return {**optimizer_state, **kept}, average, model_state
"""
PYTORCH = """
import copy, torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

def init_optimizer_state(workload, params, model_state, hyperparameters, rng):
    return {"optimizer": torch.optim.SGD(params.parameters(), lr=0.1, momentum=0.9)}

def update_params(*, workload, current_param_container, model_state, batch, optimizer_state,
                  rng, **rest):
    state, model = optimizer_state, current_param_container
    if "kept" in state:
        with torch.no_grad():
            for parameter, kept in zip(model.parameters(), state.pop("kept")):
                parameter.copy_(kept)
    state["optimizer"].zero_grad()
    logits, _ = workload.model_fn(
        model, batch, model_state, spec.ForwardPassMode.TRAIN, rng, True)
    loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    (loss["summed"] / loss["n_valid_examples"]).backward()
    state["optimizer"].step()
    if "schedule" in state:
        state["schedule"].step()
        state["average"].update_parameters(model)
    return state, model, model_state

def prepare_for_eval(*, current_param_container, model_state, optimizer_state, **rest):
    state, model = optimizer_state, current_param_container
    if "average" not in state:
        state["average"] = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        state["schedule"] = torch.optim.lr_scheduler.LambdaLR(
            state["optimizer"], lambda step: 1 / (1 + step))
    state["kept"] = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for parameter, average in zip(model.parameters(), state["average"].parameters()):
            parameter.copy_(average)
    return state, model, model_state
"""
CODE = {"jax": JAX, "pytorch": PYTORCH}
CASES = {"jax": "diloco_min", "pytorch": "torch_min"}


def killed_once_and_resumed(settings):
    """SIGKILL as soon as two evaluations are logged; the checkpoint may or may not be."""
    run = start(settings)
    wait_until(
        lambda: num_rows(folder_of(settings)) >= 2 or run.poll() is not None,
        "two evaluations",
    )
    kill_all(run)
    assert run.returncode == -signal.SIGKILL
    last = start(settings, "--resume")
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    return result_of(settings)


def check_a_submission(path, framework, reference):
    settings = {
        "workload": "mnist_unhurried",
        "max_global_steps": 25,
        "eval_period_steps": 4,
        "submission_path": path,
    }
    whole = reference("nadamw", framework, **settings, experiment_name="whole")
    broken = reference("nadamw", framework, **settings, experiment_name="broken")
    expected = uninterrupted(whole)
    result = killed_once_and_resumed(broken)
    check_equal(expected, result)
    assert result.interruptions == 1


@pytest.mark.slow
def test_weights_kept_aside_at_an_evaluation_are_resumed(
    framework, reference, tmp_path
):
    path = tmp_path / "own" / "submission.py"
    path.parent.mkdir()
    path.write_text(ALWAYS + CODE[framework])
    check_a_submission(path, framework, reference)


@pytest.mark.slow
def test_the_published_kind_of_submission_is_resumed(framework, reference):
    cases = Path(__file__).parents[3] / "shared" / "cases" / "submissions"
    path = cases / CASES[framework] / "submission.py"
    if not path.is_file():
        pytest.skip("the collected cases do not lie beside the checkout")
    check_a_submission(path, framework, reference)


TOY_PREPARES = """
def prepare_for_eval(*, current_param_container, model_state, optimizer_state, **rest):
    kept = [dict(current_param_container), (global_history.copy(), None)]
    return {**optimizer_state, "kept": kept}, current_param_container, model_state

global_history = {"seen": {1, 2}}
"""
TOY_UPDATES = """
kept = optimizer_state.get("kept")
if kept:
    params = {k: 0.5 * (v + kept[0][k]) for k, v in params.items()}
    state["count"] = state["count"] + len(kept)
import time; time.sleep(0.05)
"""


def test_a_state_that_grows_at_an_evaluation_is_resumed(toy_in_processes, written):
    path = written(TOY_UPDATES, end=TOY_PREPARES)
    options = {
        "submission_path": path,
        "workload": "blobs_never",
        "max_global_steps": 25,
        "eval_period_steps": 4,
    }
    expected = uninterrupted(toy_in_processes(**options, experiment_name="whole"))
    broken = toy_in_processes(**options, experiment_name="broken")
    result = killed_once_and_resumed(broken)
    check_equal(expected, result)
    assert not math.isnan(result.interruptions)
