"""What a submission might try: each is caught, with a reason that names it, or changes nothing.

Most run in a process of their own, because they damage the one they are in.
"""

import dataclasses
import socket

import numpy as np
import pytest

from algoperf import registry
from algoperf.logs import SUBMISSION_SECONDS, Outcome


def first_seconds(trial):
    return trial.columns[SUBMISSION_SECONDS][0]


def metrics(trial):
    return {k: v.tolist() for k, v in trial.columns.items() if "/" in k}


# Work while the clock stands still


def test_a_thread_in_the_evaluation(cheat):
    trial = cheat(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), name='more', daemon=True).start()"
    )
    assert trial.outcome is Outcome.INVALID and "thread 'more'" in trial.reason
    assert trial.num_evaluations == 0


def test_a_child_process_in_the_evaluation(cheat):
    trial = cheat("import subprocess; subprocess.Popen(['sleep', '600'])")
    assert trial.outcome is Outcome.INVALID and "sleep 600" in trial.reason


def test_a_child_process_that_has_detached_itself(cheat):
    trial = cheat(
        "import os, subprocess\n"
        "if os.fork() == 0:\n"
        "    subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    assert trial.outcome is Outcome.INVALID and "sleep 600" in trial.reason


def test_queued_device_work_is_charged(cheat):
    trial = cheat(
        "import time, toy_backend\ntoy_backend.DEVICE.enqueue(lambda: time.sleep(0.3))",
        max_global_steps=1,
        harmless=True,
    )
    assert first_seconds(trial) >= 0.3


def test_a_timer_that_fires_in_the_evaluation(cheat):
    trial = cheat(
        "import signal\n"
        "signal.signal(signal.SIGALRM, lambda *a: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 500)"
    )
    assert trial.outcome is Outcome.INVALID and "timer" in trial.reason


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import sys; sys.setprofile(lambda *a: None)", "sys.setprofile"),
        ("import sys; sys.settrace(lambda *a: None)", "sys.settrace"),
        ("import gc; gc.callbacks.append(lambda *a: None)", "gc.callbacks"),
    ],
)
def test_a_hook_that_python_calls_in_the_evaluation(cheat, code, name):
    trial = cheat(code)
    assert trial.outcome is Outcome.INVALID and name in trial.reason


# Work where one might think that no clock runs


def test_work_at_import_is_charged(cheat):
    trial = cheat(top="import time; time.sleep(0.3)", max_global_steps=1, harmless=True)
    assert first_seconds(trial) >= 0.3


def test_work_in_get_batch_size_is_charged(cheat):
    end = "def get_batch_size(name):\n    import time; time.sleep(0.3); return 16"
    trial = cheat(end=end, max_global_steps=1, harmless=True)
    assert first_seconds(trial) >= 0.3


def test_work_in_init_optimizer_state_is_charged(cheat):
    end = (
        "_init = init_optimizer_state\n"
        "def init_optimizer_state(*arguments):\n"
        "    import time; time.sleep(0.3); return _init(*arguments)"
    )
    trial = cheat(end=end, max_global_steps=1, harmless=True)
    assert first_seconds(trial) >= 0.3


PREPARE = (
    "def prepare_for_eval(workload, current_param_container, current_params_types,\n"
    "                     model_state, hyperparameters, loss_type, optimizer_state,\n"
    "                     eval_results, global_step, rng):\n"
    "    {}\n"
    "    return optimizer_state, current_param_container, model_state"
)


def test_sleeping_in_prepare_for_eval_is_charged(cheat):
    end = PREPARE.format("import time; time.sleep(0.3)")
    trial = cheat(end=end, max_global_steps=1, harmless=True)
    assert first_seconds(trial) >= 0.3


# The clock itself


@pytest.mark.parametrize("name", ["time", "monotonic", "perf_counter", "process_time"])
def test_a_function_of_time_that_was_replaced(cheat, name):
    trial = cheat(f"import time; time.{name} = lambda: 0.0")
    assert trial.outcome is Outcome.INVALID
    assert f"time.{name} was replaced" in trial.reason


def test_a_replaced_time_changes_no_seconds_of_the_clock(cheat):
    trial = cheat(
        "import time\n"
        "if global_step == 1: time.sleep(0.3)\n"
        "true = time.perf_counter\n"
        "time.perf_counter = lambda: 0.0\n"
        "time.perf_counter = true"
    )
    seconds = trial.columns[SUBMISSION_SECONDS]
    assert trial.outcome is Outcome.NOT_REACHED and seconds[1] - seconds[0] >= 0.3


# The harness

REPLACED = {
    "a method of the workload": (
        "type(workload).evaluate_batch = lambda *a: {}",
        "algoperf.workload.Workload.evaluate_batch",
    ),
    "the loss": (
        "type(workload).loss_fn = lambda *a, **k: {}",
        "algoperf.workload.Workload.loss_fn",
    ),
    "the metrics": (
        "import toy_workload; toy_workload.summarise = lambda parts: {}",
        "toy_workload.summarise",
    ),
    "the data": (
        "import toy_workload; toy_workload.open_batches = lambda request: None",
        "toy_workload.open_batches",
    ),
    "an attribute that hides a method": (
        "workload.__dict__['evaluate_batch'] = lambda *a: {}",
        "workload.evaluate_batch was added",
    ),
    "a method of the model": (
        "workload._model.evaluate = lambda *a: {}",
        "model.evaluate was added",
    ),
    "a method of the backend": (
        "type(workload._backend).is_finite = lambda *a: True",
        "toy_backend.ToyBackend.is_finite",
    ),
    "the class of the workload": (
        "class Own(type(workload)): pass\nobject.__setattr__(workload, '__class__', Own)",
        "workload.__class__",
    ),
    "a function of the harness": (
        "from algoperf.runner import trial\ntrial.Trial._spent = lambda self: None",
        "algoperf.runner.trial.Trial._spent",
    ),
    "the code of a function": (
        "from algoperf.runner import trial\n"
        "trial.Trial._spent.__code__ = (lambda self: None).__code__",
        "Trial._spent.__code__",
    ),
    "one of Python's own functions, for a module": (
        "from algoperf.runner import trial; trial.dict = lambda *a: {}",
        "algoperf.runner.trial.dict was added",
    ),
    "a function of numpy": (
        "np.isfinite = lambda x: np.ones(1, bool)",
        "numpy.isfinite",
    ),
    "the target": (
        "object.__setattr__(workload.definition.target, 'validation', 0.0)",
        "definition was changed",
    ),
    "the evaluation's batch size": (
        "object.__setattr__(workload.definition, 'eval_batch_size', 1)",
        "definition was changed",
    ),
}


@pytest.mark.parametrize("what", REPLACED)
def test_something_of_the_benchmark_that_was_replaced(cheat, what):
    code, name = REPLACED[what]
    trial = cheat(code)
    assert trial.outcome is Outcome.INVALID, trial.reason
    assert name in trial.reason
    assert trial.num_evaluations == 0


@pytest.mark.parametrize(
    "code",
    [
        "workload.definition = None",
        "workload.eval_batch_size = 1",
        "workload._budget_seconds = 1e9",
        "del workload._model",
    ],
)
def test_the_workload_cannot_be_changed_by_accident(cheat, code):
    trial = cheat(code, harmless=True)
    assert trial.outcome is Outcome.SUBMISSION_CRASHED
    assert "belongs to the benchmark" in trial.reason


# Data, logs, network


def test_reading_the_prepared_data(cheat, tmp_path):
    manifest = tmp_path / "data" / "blobs" / "manifest.json"
    trial = cheat(f"open({str(manifest)!r}).read()")
    assert trial.outcome is Outcome.INVALID
    assert "the benchmark's data" in trial.reason and str(manifest) in trial.reason


def test_reading_the_prepared_data_through_a_link(cheat, tmp_path):
    link = tmp_path / "innocent"
    link.symlink_to(tmp_path / "data")
    trial = cheat(f"open({str(link / 'blobs' / 'manifest.json')!r}).read()")
    assert trial.outcome is Outcome.INVALID


def test_reading_the_prepared_data_at_import(cheat, tmp_path):
    manifest = tmp_path / "data" / "blobs" / "manifest.json"
    trial = cheat(top=f"import os; os.close(os.open({str(manifest)!r}, os.O_RDONLY))")
    assert trial.outcome is Outcome.INVALID


@pytest.mark.parametrize(
    "code",
    [
        "open(folder / 'eval_measurements.csv', 'a').close()",
        "open(folder / 'checkpoints' / 'ckpt-1' / 'meta.json', 'a').close()",
        "os.rename(__file__, folder / 'outcome.json')",
        "import shutil; shutil.rmtree(folder / 'checkpoints')",
    ],
)
def test_writing_into_logs_and_checkpoints(cheat, tmp_path, code):
    folder = tmp_path / "experiments/sgd/study_1/blobs_never_toy/trial_1"
    # Checkpoints are written in the background.
    trial = cheat(
        f"if global_step == 1:\n    import os, pathlib, time\n"
        f"    folder = pathlib.Path({str(folder)!r})\n"
        f"    while not (folder / 'checkpoints' / 'ckpt-1').is_dir():\n"
        f"        time.sleep(0.01)\n    {code}"
    )
    assert trial.outcome is Outcome.INVALID, trial.reason
    assert "the logs" in trial.reason


def test_the_metrics_logger_can_do_nothing_but_append_scalars(cheat):
    trial = cheat("workload.metrics_logger.add_evaluation({})", harmless=True)
    assert trial.outcome is Outcome.SUBMISSION_CRASHED
    assert "add_evaluation" in trial.reason


def test_using_the_network(cheat):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        trial = cheat(
            f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        )
    assert trial.outcome is Outcome.INVALID and "used the network" in trial.reason


def test_a_program_that_was_started_is_shown_to_reviewers(cheat):
    import json

    trial = cheat("import subprocess; subprocess.run(['true'])")
    outcome = json.loads((trial.folder / "outcome.json").read_text())
    assert trial.outcome is Outcome.NOT_REACHED
    assert any("true" in mark for mark in outcome["marks"])


def test_changed_batches_change_no_evaluation(cheat):
    spoil = "batch['inputs'][:] = 7.0; batch['targets'][:] = 0"
    honest = cheat(harmless=True)
    trial = cheat(spoil, harmless=True, experiment_name="spoilt")
    assert metrics(trial) == metrics(honest)


# What is evaluated


def test_a_params_object_is_asked_once_and_not_while_evaluating(cheat, tmp_path):
    asked = tmp_path / "asked"
    trial = cheat(
        "class Cheat(dict):\n"
        "    def __getitem__(self, name):\n"
        f"        open({str(asked)!r}, 'a').write(name + '\\n')\n"
        "        return super().__getitem__(name)\n"
        "params = Cheat(params)",
        max_global_steps=1,
        harmless=True,
    )
    assert trial.outcome is Outcome.NOT_REACHED
    assert sorted(asked.read_text().split()) == ["bias", "weight"]


# The process


@pytest.mark.parametrize(
    "code", ["os.environ['XLA_FLAGS'] = '--fast'", "os.environ.pop('PATH')"]
)
def test_an_environment_variable_that_was_changed(cheat, code):
    trial = cheat(f"import os; {code}")
    assert trial.outcome is Outcome.INVALID and "environment variable" in trial.reason


def test_a_setting_of_the_framework_that_was_changed(cheat):
    trial = cheat("import toy_backend; toy_backend.SETTINGS['default dtype'] = 'half'")
    assert trial.outcome is Outcome.INVALID
    assert "default dtype was changed from 'float64' to 'half'" in trial.reason


def test_seeds_of_global_generators_change_no_evaluation_and_no_batch(cheat):
    honest = cheat(harmless=True)
    trial = cheat(
        "import random; random.seed(1); np.random.seed(1)",
        harmless=True,
        experiment_name="seeded",
    )
    assert metrics(trial) == metrics(honest)


def test_global_generators_are_seeded_from_the_trial(cheat):
    draw = "import random; params['bias'] += np.random.rand() + random.random()"
    one = cheat(draw, harmless=True)
    other = cheat(draw, harmless=True, experiment_name="again")
    assert metrics(one) == metrics(other)


# The end of a trial


def test_no_evaluation_for_raising_when_the_budget_is_spent(cheat, monkeypatch):
    definition = registry.definitions()["blobs_never"]
    limits = {
        name: dataclasses.replace(limit, budget_seconds=0.05)
        for name, limit in definition.limits.items()
    }
    short = {"blobs_never": dataclasses.replace(definition, limits=limits)}
    monkeypatch.setattr(registry, "definitions", lambda: short)
    trial = cheat(
        "import time; time.sleep(0.1)\n"
        "from algoperf import spec; raise spec.TrainingCompleteError",
        harmless=True,
    )
    assert trial.outcome is Outcome.NOT_REACHED and "budget" in trial.reason
    assert trial.num_evaluations == 0


def test_training_complete_ends_the_run_so_it_cannot_buy_evaluations(cheat):
    trial = cheat(
        "from algoperf import spec; raise spec.TrainingCompleteError", harmless=True
    )
    assert trial.outcome is Outcome.NOT_REACHED
    assert trial.num_evaluations == 1


def test_training_complete_belongs_into_update_params(cheat):
    end = PREPARE.format("from algoperf import spec; raise spec.TrainingCompleteError")
    trial = cheat(end=end, harmless=True)
    assert trial.outcome is Outcome.SUBMISSION_CRASHED
    assert trial.num_evaluations == 0


@pytest.mark.parametrize(
    "code",
    [
        "from algoperf.errors import BadData; raise BadData('the disk')",
        "raise MemoryError('the host')",
        "raise SystemExit(0)",
    ],
)
def test_a_crash_of_ones_own_cannot_pass_for_the_infrastructures(cheat, code):
    trial = cheat(code, harmless=True)
    assert trial.outcome is Outcome.SUBMISSION_CRASHED


# Honest submissions


def test_an_honest_submission_breaks_no_rule(cheat, tmp_path):
    note = tmp_path / "own" / "note.txt"
    trial = cheat(
        f"import json, time\nopen({str(note)!r}, 'w').write(str(time.time()))\n"
        "workload.metrics_logger.append_scalar_metrics({'x': 1.0}, global_step)"
    )
    assert trial.outcome is Outcome.NOT_REACHED
    assert np.isfinite(trial.metric("validation/loss")).all()
