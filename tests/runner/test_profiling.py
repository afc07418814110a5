"""Profiles of chosen steps."""

import json

import pytest

from algoperf import cli, logs
from algoperf.errors import BadLogs, BadSettings
from algoperf.outcome import Outcome
from algoperf.runner import profiling
from algoperf.runner.profiling import StepProfiler
from algoperf.runner.step_hooks import StepView


class FakeProfiler:
    def __init__(self):
        self.did = []

    def start(self):
        self.did.append("start")

    def stop(self, folder):
        assert folder.is_dir()
        self.did.append("stop")


def take(hook, *steps):
    for step in steps:
        if hook.wants(step):
            view = StepView(step, None, None, None, None, None, None)
            hook.before_step(view)
            hook.after_step(view)


def test_the_steps_asked_for_are_one_profile(tmp_path):
    fake = FakeProfiler()
    hook = StepProfiler(fake, tmp_path / "deep", range(2, 4))
    take(hook, 0, 1)
    assert fake.did == []
    take(hook, 2)
    assert fake.did == ["start"]
    take(hook, 3, 4)
    hook.close()
    assert fake.did == ["start", "stop"]


def test_a_trial_that_ends_early_has_a_profile_of_what_there_was(tmp_path):
    fake = FakeProfiler()
    hook = StepProfiler(fake, tmp_path, range(2, 9))
    take(hook, 2, 3)
    hook.close()
    assert fake.did == ["start", "stop"]


@pytest.mark.parametrize(
    "text", ["", "5", "5:5", "9:3", "a:b", "-1:3", "1:2:3", "1: 2"]
)
def test_wrong_steps_are_refused(text):
    with pytest.raises(BadSettings, match="START:END"):
        profiling.steps_of(text)


def test_what_does_not_go_together_is_refused(toy, tmp_path):
    settings = toy(profile_dir=tmp_path, framework="toy")
    with pytest.raises(BadSettings, match="toy has no profiler"):
        profiling.check(settings)
    few = toy(profile_dir=tmp_path, framework="pytorch", max_global_steps=15)
    with pytest.raises(BadSettings, match="needs 20 steps, but --max-steps is 15"):
        profiling.check(few)
    cockpit = toy(profile_dir=tmp_path, framework="pytorch", cockpit="light")
    with pytest.raises(BadSettings, match="--cockpit look at the same steps"):
        profiling.check(cockpit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "package", "file"),
    [("jax", "flax", "*.xplane.pb"), ("pytorch", "torch", "trace.json")],
)
def test_a_profiled_trial_is_valid_and_never_scored(
    framework, package, file, tmp_path, capfd
):
    pytest.importorskip(package)
    from algoperf import registry, results

    folder = registry.wing_folder("reference_algorithms") / "adamw"
    data = ["--data-dir", str(tmp_path / "data")]
    assert cli.main(["prepare", "mnist_mini", *data]) == 0
    words = ["run", str(folder / f"submission_{framework}.py"), *data]
    words += ["--workload", "mnist_mini", "--studies", "1", "--trials", "1"]
    words += ["--search-space", str(folder / "tuning_search_space_mini.json")]
    words += ["--experiment-dir", str(tmp_path / "logs"), "--max-steps", "12"]
    words += ["--profile", str(tmp_path / "profiles"), "--profile-steps", "3:6"]
    assert cli.main(words) == 0
    (path,) = (tmp_path / "profiles").rglob(file)
    assert path.stat().st_size > 1_000
    if framework == "pytorch":
        assert "traceEvents" in json.loads(path.read_text())
    unscored = tmp_path / "logs" / ".unscored"
    (trial,) = logs.read(unscored)
    assert trial.outcome is Outcome.NOT_REACHED
    with pytest.raises(BadLogs, match="--profile or --pdb"):
        results.load(unscored).leaderboard()
    with pytest.raises(BadLogs, match="No trials under"):
        results.load(tmp_path / "logs")
