"""What people get for mistakes: one clear message, an exit status, logs intact."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import pytest

from algoperf import cli, logs, registry
from algoperf.campaign import single
from algoperf.logs import Outcome
from algoperf.runner import setup, trial_process

SPACE = '{"learning_rate": {"min": 0.1, "max": 0.1, "scaling": "linear"}}'
SUBMISSION = """
    from algoperf import spec

    def get_batch_size(workload_name):
        return 64

    def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
        return {}

    def data_selection(workload, input_queue, optimizer_state, current_param_container,
                       model_state, hyperparameters, global_step, rng):
        return next(input_queue)

    def update_params(workload, current_param_container, current_params_types, model_state,
                      hyperparameters, batch, loss_type, optimizer_state, eval_results,
                      global_step, rng):
"""
UPDATES = {  # what update_params does: (its body by framework, outcome, words)
    "raises": (
        {"jax": "raise OSError('broken')", "pytorch": "raise OSError('broken')"},
        Outcome.SUBMISSION_CRASHED,
        "update_params failed at step 0: OSError: broken (submission.py, line",
    ),
    "returns the wrong shape": (
        {
            "jax": "import jax; params = jax.tree.map(lambda x: x[:1], PARAMS); RETURN",
            "pytorch": "import torch; params = torch.nn.Linear(2, 2); RETURN",
        },
        Outcome.SUBMISSION_CRASHED,
        "names and shapes",
    ),
    "returns two things": (
        {"jax": "return {}, PARAMS", "pytorch": "return {}, PARAMS"},
        Outcome.SUBMISSION_CRASHED,
        "must return (optimizer_state, params, model_state)",
    ),
    "returns NaN parameters": (
        {
            "jax": "import jax; params = jax.tree.map(lambda x: x * float('nan'), PARAMS); RETURN",
            "pytorch": "params = PARAMS; "
            "[p.data.fill_(float('nan')) for p in params.parameters()]; RETURN",
        },
        Outcome.DIVERGED,
        "NaN or infinite",
    ),
    "stops at once": (
        {
            "jax": "raise spec.TrainingCompleteError",
            "pytorch": "raise spec.TrainingCompleteError",
        },
        Outcome.NOT_REACHED,
        "ended its training at step 0",
    ),
    "never reaches the target": (
        {"jax": "params = PARAMS; RETURN", "pytorch": "params = PARAMS; RETURN"},
        Outcome.NOT_REACHED,
        "step limit",
    ),
    "sleeps past the budget": (
        {
            "jax": "import time; time.sleep(0.2); params = PARAMS; RETURN",
            "pytorch": "import time; time.sleep(0.2); params = PARAMS; RETURN",
        },
        Outcome.NOT_REACHED,
        "budget of 0.1 s was spent",
    ),
}


@pytest.fixture
def run(framework, digits, tmp_path, capfd):
    """Runs a submission with the given update by `algoperf run`; status, output, errors."""

    def execute(body, *arguments, workload="mnist_mini", data_dir=digits):
        body = body.replace("RETURN", "return optimizer_state, params, model_state")
        body = body.replace("PARAMS", "current_param_container")
        path = tmp_path / "submission.py"
        path.write_text(textwrap.dedent(SUBMISSION) + "    " + textwrap.dedent(body))
        space = tmp_path / "space.json"
        if not space.exists():
            space.write_text(SPACE)
        status = cli.main(
            ["run", str(path), "--framework", framework, "--workload", workload]
            + ["--search-space", str(space), "--data-dir", str(data_dir)]
            + ["--experiment-dir", str(tmp_path / "logs"), "--experiment-name", "bad"]
            + ["--trials", "1", "--studies", "1", "--max-steps", "3", *arguments]
        )
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return execute


@pytest.mark.parametrize("what", UPDATES)
def test_a_bad_update_ends_with_its_outcome_and_reason(
    what, run, framework, tmp_path, monkeypatch
):
    def in_this_process(
        plan, observers=()
    ):  # quicker than a process a case; the same code
        backend = setup.load_backend(plan.settings)
        return trial_process.run_trial(plan, backend)

    monkeypatch.setattr(single, "launch", in_this_process)
    if what == "sleeps past the budget":
        definition = registry.definition("mnist_mini")
        limits = {
            k: dataclasses.replace(v, budget_seconds=0.1)
            for k, v in definition.limits.items()
        }
        short = dataclasses.replace(definition, limits=limits)
        monkeypatch.setattr(registry, "definition", lambda name: short)
    bodies, outcome, words = UPDATES[what]
    status, out, _ = run(bodies[framework])
    (trial,) = logs.read(tmp_path / "logs")
    assert trial.outcome is outcome
    assert words in trial.reason and words in out
    assert status == (0 if outcome is Outcome.NOT_REACHED else 1)


def test_a_crash_in_its_own_process_is_reported_the_same(run, tmp_path):
    status, out, _ = run("raise OSError('broken')")
    (trial,) = logs.read(tmp_path / "logs")
    assert status == 1 and trial.outcome is Outcome.SUBMISSION_CRASHED
    assert "OSError: broken" in out
    assert "broken" in (trial.folder / "traceback.txt").read_text()


def test_a_submission_that_kills_its_process_leaves_an_outcome(run, tmp_path):
    status, out, _ = run("import os; os.kill(os.getpid(), 9)")
    (trial,) = logs.read(tmp_path / "logs")
    assert status == 1 and trial.outcome is Outcome.INFRASTRUCTURE_CRASHED
    assert "SIGKILL" in trial.reason and "SIGKILL" in out


def test_an_unknown_workload_gets_a_near_name(run):
    status, _, err = run("pass", workload="mnist_mimi")
    assert status == 2 and "Did you mean 'mnist_mini'?" in err


def test_data_that_is_not_prepared_says_how_to_prepare_it(run, tmp_path):
    none = tmp_path / "no data"
    status, _, err = run("pass", data_dir=none)
    assert status == 2
    assert f"`algoperf prepare mnist_mini --data-dir '{none}'`" in err


def test_a_malformed_search_space_is_named(run, tmp_path):
    (tmp_path / "space.json").write_text(
        '{"rate": {"min": 2, "max": 1, "scaling": "log"}}'
    )
    status, _, err = run("pass")
    assert status == 2 and "min 2 is above max 1" in err


def test_an_existing_folder_is_refused(run, tmp_path):
    folder = tmp_path / "logs" / "bad" / "study_1"
    for name in ("mnist_mini_jax", "mnist_mini_pytorch"):
        (folder / name / "trial_1").mkdir(parents=True)
    status, _, err = run("pass")
    assert status == 2 and "--overwrite" in err


def test_a_batch_size_that_the_devices_cannot_share_is_refused(digits, tmp_path):
    pytest.importorskip("flax")
    path = tmp_path / "submission.py"
    path.write_text(
        textwrap.dedent(SUBMISSION).replace("return 64", "return 65") + "    pass"
    )
    (tmp_path / "space.json").write_text(SPACE)
    result = subprocess.run(
        [sys.executable, "-m", "algoperf.cli", "run", str(path), "--framework", "jax"]
        + ["--workload", "mnist_mini", "--search-space", str(tmp_path / "space.json")]
        + ["--data-dir", str(digits), "--experiment-dir", str(tmp_path / "logs")],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "65 cannot be divided by the 2 devices" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_batch_size_that_processes_cannot_share_is_refused(digits, tmp_path, capfd):
    pytest.importorskip("torch")
    path = tmp_path / "submission.py"
    path.write_text(
        textwrap.dedent(SUBMISSION).replace("return 64", "return 65") + "    pass"
    )
    status = cli.main(
        ["run", str(path), "--framework", "pytorch", "--workload", "mnist_mini"]
        + ["--tuning-ruleset", "self", "--data-dir", str(digits), "--trials", "1"]
        + ["--experiment-dir", str(tmp_path / "logs"), "--num-processes", "2"]
    )
    assert status == 2
    assert capfd.readouterr().err == (
        "algoperf: error: The batch size 65 cannot be divided by the 2 devices. "
        "Return a multiple from get_batch_size, such as 64.\n"
    )
    assert not (tmp_path / "logs").exists()


def test_a_missing_package_of_an_option_leaves_no_folder(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    status, _, err = run("pass", "--tensorboard")
    assert status == 2 and "pip install 'algoperf[tensorboard]'" in err
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_trial_with_event_files_is_valid(run, tmp_path):
    pytest.importorskip("tensorboard")
    body = "params = PARAMS; RETURN"
    status, out, _ = run(body, "--tensorboard", "--eval-every-steps", "1")
    (trial,) = logs.read(tmp_path / "logs")
    assert (status, trial.outcome) == (0, Outcome.NOT_REACHED), out
    assert list((trial.folder / "tensorboard").iterdir())


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "MASTER_PORT"])
def test_a_wrong_variable_of_torchrun_is_named(run, monkeypatch, name):
    monkeypatch.setenv(name, "x")
    status, _, err = run("pass")
    assert status == 2 and f"{name} is 'x'" in err
