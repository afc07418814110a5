"""The main job: every reference algorithm runs on real data and logs what scoring reads."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from algoperf import logs, registry
from algoperf.logs import Outcome
from algoperf.runner import experiment, trial_process
from algoperf.runner.trial_parts import TrialParts

ROOT = Path(__file__).parents[2]
# The others' ten steps on every small workload are slow contract tests.
_FAST = ("adamw", "nadamw", "schedule_free_adamw")
ALGORITHMS = [
    name if name in _FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in registry.folders("reference_algorithms")
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_reference_algorithm_trains_on_real_data(algorithm, framework, reference):
    settings = reference(algorithm, framework, max_global_steps=30)
    assert experiment.run(settings)
    (trial,) = logs.read(settings.experiment_dir)
    losses = trial.metric("train/loss")
    assert np.isfinite(losses).all() and losses[-1] != losses[0]
    assert trial.columns["train/num_examples"][-1] == 1_000
    assert trial.meta.devices


@pytest.mark.parametrize("algorithm", ["adamw", "nadamw"])
def test_adaptive_methods_lower_the_training_loss(algorithm, framework, reference):
    settings = reference(algorithm, framework, max_global_steps=150)
    assert experiment.run(settings)
    (trial,) = logs.read(settings.experiment_dir)
    assert trial.metric("train/loss")[-1] < trial.metric("train/loss")[0]


def test_hidden_device_work_is_awaited_before_an_evaluation_jax(reference, monkeypatch):
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    hidden, ready = [], []
    heavy = jax.jit(lambda x: jax.lax.fori_loop(0, 60, lambda _, y: y @ x, x))
    matrix = jnp.eye(600)
    heavy(matrix).block_until_ready()

    class Parts(TrialParts):
        """Enqueues work in the update and looks at it when the evaluation begins."""

        def __new__(cls, **values):
            submission, evaluate = values["submission"], values["evaluate"]

            def update_params(**arguments):
                result = submission.update_params(**arguments)
                hidden.append(heavy(matrix))
                return result

            def look(*arguments):
                ready.append(hidden[-1].is_ready())
                return evaluate(*arguments)

            values["submission"] = dataclasses.replace(
                submission, update_params=update_params
            )
            values["evaluate"] = look
            return TrialParts(**values)

    monkeypatch.setattr(trial_process, "TrialParts", Parts)
    experiment.run(reference("nadamw", "jax", max_global_steps=1))
    assert ready == [True]


def test_hidden_device_work_is_awaited_on_the_clock_pytorch(reference, monkeypatch):
    """No accelerator is needed: a stand-in keeps a queue as CUDA does."""
    pytest.importorskip("torch")
    from algoperf.pytorch_backend import backend as pytorch_backend
    from algoperf.runner.clock import Clock, Phase

    waited_in = []
    clocks = []
    make_clock = Clock.__init__

    def remember(self, *arguments, **keywords):
        make_clock(self, *arguments, **keywords)
        clocks.append(self)

    class Accelerator:
        def synchronize(self):
            waited_in.append(clocks[-1]._running)

    make_backend = pytorch_backend.Backend.__init__

    def with_accelerator(self, *arguments, **keywords):
        make_backend(self, *arguments, **keywords)
        self.accelerator = Accelerator()

    monkeypatch.setattr(Clock, "__init__", remember)
    monkeypatch.setattr(pytorch_backend.Backend, "__init__", with_accelerator)
    experiment.run(reference("nadamw", "pytorch", max_global_steps=1))
    # After the model's and the optimizer's initialisation, and before the evaluation.
    assert waited_in == [Phase.SETUP, Phase.SUBMISSION, Phase.SUBMISSION]


def stable(trial):
    return {
        k: v.tolist() for k, v in trial.columns.items() if "/" in k or k == logs.STEP
    }


def test_a_killed_trial_resumes_to_the_same_numbers(framework, reference, monkeypatch):
    """The process that ran it is gone; logs and checkpoints are what is left."""
    from algoperf.runner.trial import Trial

    def every_third_step(self):
        return self.state.global_step % 3 == 1 or self._is_last_step()

    monkeypatch.setattr(Trial, "_is_evaluation_due", every_third_step)
    whole = reference("nadamw", framework, max_global_steps=14, experiment_name="whole")
    experiment.run(whole)
    decide, count = Trial._decide, []

    def die(self, is_finite):
        count.append(self.state.global_step)
        if len(count) == 3:
            raise KeyboardInterrupt
        return decide(self, is_finite)

    broken = dataclasses.replace(whole, experiment_name="broken")
    monkeypatch.setattr(Trial, "_decide", die)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(broken)
    monkeypatch.setattr(Trial, "_decide", decide)
    experiment.run(dataclasses.replace(broken, on_existing="resume"))
    by_name = {t.id.submission: t for t in logs.read(whole.experiment_dir)}
    assert stable(by_name["broken"]) == stable(by_name["whole"])
    seconds = by_name["broken"].columns[logs.SUBMISSION_SECONDS]
    assert (np.diff(seconds) > 0).all()


def command_line(arguments, tmp_path, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def published_flags(framework, digits, tmp_path):
    nadamw = "reference_algorithms/nadamw"
    return [
        "submission_runner.py",
        f"--framework={framework}",
        "--workload=mnist_mini",
        f"--experiment_dir={tmp_path}",
        "--experiment_name=published",
        f"--submission_path={nadamw}/submission_{framework}.py",
        f"--tuning_search_space={nadamw}/tuning_search_space.json",
        "--num_tuning_trials=2",
        "--hparam_start_index=1",
        "--max_global_steps=3",
        f"--data_dir={digits}",
    ]


def test_the_published_command_line_runs(framework, digits, tmp_path):
    result = command_line(published_flags(framework, digits, tmp_path), tmp_path)
    assert result.returncode == 0, result.stderr
    (trial,) = logs.read(tmp_path)
    assert (trial.id.study, trial.id.trial) == (1, 2)
    assert trial.outcome is Outcome.NOT_REACHED


def test_two_processes_under_torchrun_share_a_trial(digits, tmp_path):
    pytest.importorskip("torch")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    flags = published_flags("pytorch", digits, tmp_path)
    result = command_line([*launcher, *flags], tmp_path)
    assert result.returncode == 0, result.stderr
    (trial,) = logs.read(tmp_path)
    assert trial.meta.num_processes == 2
    assert trial.columns[logs.STEP].tolist() == [1, 3]
    assert trial.columns["validation/num_examples"].tolist() == [1_000, 1_000]
    single = tmp_path / "single"
    alone = command_line(published_flags("pytorch", digits, single), single)
    assert alone.returncode == 0, alone.stderr
    (reference,) = logs.read(single)
    np.testing.assert_allclose(
        trial.metric("validation/loss"), reference.metric("validation/loss"), rtol=1e-4
    )
