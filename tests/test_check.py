"""`algoperf check`: each kind of finding, with its verdict and exit status.

Rehearsals run on the toy benchmark, in processes of their own; two slow tests run them in the
real frameworks.
"""

import json
import math
import sys
from pathlib import Path

import pytest
from toy_fixtures import toy_in_processes, written

from algoperf import cli, registry
from algoperf.commands import check
from algoperf.errors import BadSettings
from algoperf.logs import Outcome
from algoperf.procedures import rehearsal
from algoperf.procedures.rehearsal import Rehearsal, StateSize
from algoperf.runner.evaluation import Evaluator
from algoperf.spec import ShapeTuple

__all__ = ["toy_in_processes", "written"]

TEMPLATE = Path(__file__).parents[1] / "submissions" / "template"
SPACE = {"learning_rate": {"min": 0.05, "max": 0.5, "scaling": "log"}}


@pytest.fixture
def run(capfd, monkeypatch):
    """Runs a check in this process: status, stdout, stderr."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # loading a submission adds to it

    def run_check(*arguments) -> tuple[int, str, str]:
        status = cli.main(["check", *map(str, arguments)])
        return status, *capfd.readouterr()

    return run_check


@pytest.fixture
def rehearse(run, toy_in_processes, written, tmp_path):
    """Checks the toy submission with code added to it, rehearsal included."""

    def run_check(
        update="pass", top="", *arguments, space=SPACE, workload="never", data="data"
    ):
        toy_in_processes()
        path = written(update, top)
        if space is not None:
            (path.parent / "tuning_search_space.json").write_text(json.dumps(space))
        options = ["--framework", "toy", "--workload", f"blobs_{workload}"]
        return run(path, *options, "--data-dir", tmp_path / data, *arguments)

    return run_check


@pytest.fixture
def static(run, tmp_path):
    """Checks a submission that is made of the given functions, on all real workloads."""
    functions = {
        "get_batch_size": "def get_batch_size(workload_name): return 8",
        "init_optimizer_state": "def init_optimizer_state(a, b, c, d, e): pass",
        "update_params": "def update_params(**kwargs): pass",
        "data_selection": "def data_selection(a, b, c, d, e, f, g, h): pass",
    }

    def run_check(**changes):
        path = tmp_path / "submission.py"
        path.write_text("\n".join({**functions, **changes}.values()))
        return run(path, "--static")

    return run_check


def test_a_good_submission_is_rehearsed_and_ok(rehearse):
    status, out, _ = rehearse()
    assert status == 0
    assert "rehearsal on blobs_never: ok: the step limit was reached at step 3" in out
    assert "Evaluations: 2." in out
    assert out.endswith("verdict: ok\n")


def test_what_is_only_read_says_that_nothing_was_run(static):
    status, out, _ = static()
    assert status == 0
    assert out.endswith("Nothing was run (--static).\nverdict: ok\n")


STATIC_PROBLEMS = {  # what is wrong: (functions, what the problem says)
    "a signature": (
        {"update_params": "def update_params(workload, rng): pass"},
        "update_params(workload, rng) cannot be called",
    ),
    "a missing function": (
        {"data_selection": "def data_selector(a, b, c, d, e, f, g, h): pass"},
        "data_selection is missing. Did you mean 'data_selector'?",
    ),
    "the syntax": ({"update_params": "def update_params(:"}, "line 3: "),
    "an error when imported": ({"more": "1 / 0"}, "ZeroDivisionError"),
    "a batch size": (
        {"get_batch_size": "def get_batch_size(workload_name): return 0"},
        "get_batch_size('ogbg') returned 0",
    ),
    "a full workload without batch size": (
        {"get_batch_size": "def get_batch_size(name): return {'mnist': 8}[name]"},
        "get_batch_size('ogbg') raised KeyError",
    ),
}


@pytest.mark.parametrize("what", STATIC_PROBLEMS)
def test_what_cannot_be_called_is_not_valid(static, what):
    changes, said = STATIC_PROBLEMS[what]
    status, out, _ = static(**changes)
    assert status == 1
    assert "problem: " in out and said in out
    assert out.endswith("verdict: not valid\n")


def test_a_bad_search_space_is_not_valid_and_nothing_is_run(rehearse):
    space = {"learning_rate": {"min": 0.0, "max": 0.5, "scaling": "log"}}
    status, out, err = rehearse(space=space)
    assert status == 1
    assert "problem: " in out and "log scaling needs min above 0" in out
    assert "Nothing was run: solve the problems first." in out
    assert "rehearsing" not in err


def test_a_missing_requirement_is_not_valid(static, tmp_path):
    (tmp_path / "requirements.txt").write_text("no-such-package>=2\n")
    status, out, _ = static()
    assert status == 1
    assert "problem: " in out and "no-such-package>=2" in out and "pip install" in out


def test_a_batch_size_that_eight_devices_cannot_share_is_a_warning(static):
    status, out, _ = static(get_batch_size="def get_batch_size(name): return 12")
    assert status == 0
    assert "warning: ogbg: the batch size 12 is not a multiple of 8" in out
    assert out.endswith("verdict: ok, with warnings\n")


def test_a_branch_on_a_workloads_name_is_shown_with_its_line(static, tmp_path):
    code = (
        "def update_params(**kwargs):\n    return 1 if kwargs['name'] == 'ogbg' else 2"
    )
    status, out, _ = static(update_params=code)
    assert status == 0
    place = f"look at: {tmp_path / 'submission.py'}, line 4: names the workload 'ogbg'"
    assert place in out
    assert out.endswith("verdict: ok, with warnings\n")


def test_a_crash_in_the_rehearsal_is_told_with_function_step_and_line(rehearse):
    status, out, _ = rehearse("if global_step == 1: raise KeyError('beta')")
    assert status == 1
    (problem,) = [line for line in out.splitlines() if line.startswith("problem")]
    assert "crashed in the submission: update_params failed at step 1" in problem
    assert "KeyError: 'beta' (submission.py, line " in problem
    assert out.endswith("verdict: not valid\n")


INVALID = {  # what is done: (in update_params, on top, what the problem says)
    "a thread goes on": (
        "threading.Thread(target=time.sleep, args=(9,), daemon=True, name='extra').start()",
        "import threading, time",
        "thread 'extra'",
    ),
    "the environment is changed when imported": (
        "pass",
        "import os\nos.environ['NVIDIA_TF32_OVERRIDE'] = '1'",
        "environment variable NVIDIA_TF32_OVERRIDE was changed",
    ),
    "a function of the harness is replaced": (
        "pass",
        "from algoperf.runner import evaluation\nevaluation.Evaluator.evaluate = None",
        "Evaluator.evaluate was replaced",
    ),
}


@pytest.mark.parametrize("what", INVALID)
def test_a_broken_rule_in_the_rehearsal_is_not_valid(rehearse, monkeypatch, what):
    update, top, said = INVALID[what]
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    # The static half imports the submission in this process: put back afterwards.
    monkeypatch.setattr(Evaluator, "evaluate", Evaluator.evaluate)
    status, out, _ = rehearse(update, top)

    assert status == 1
    (problem,) = [line for line in out.splitlines() if line.startswith("problem")]
    assert "rehearsal on blobs_never: invalid: " in problem and said in problem


def test_reading_the_benchmarks_data_is_not_valid(rehearse, tmp_path):
    manifest = tmp_path / "data" / "blobs" / "manifest.json"
    status, out, _ = rehearse(f"open({str(manifest)!r}).close()")
    assert status == 1
    assert "touched a file of the benchmark's data" in out


def test_parameters_that_are_not_finite_are_a_warning(rehearse):
    status, out, _ = rehearse("params = {k: v * np.nan for k, v in params.items()}")
    assert status == 0
    assert "warning: rehearsal on blobs_never: diverged" in out
    assert out.endswith("verdict: ok, with warnings\n")


def test_without_a_search_space_it_is_rehearsed_as_self_tuning(rehearse):
    status, out, _ = rehearse("assert hyperparameters is None", space=None)
    assert status == 0
    assert "Tuning: self." in out and "Hyperparameters are None" in out


def test_self_tuning_can_be_asked_for_beside_a_search_space(rehearse):
    asked = ("--tuning-ruleset", "self")
    status, out, _ = rehearse("assert hyperparameters is None", "", *asked)
    assert status == 0
    assert "Tuning: self." in out


def test_several_workloads_are_rehearsed(rehearse):
    _, out, _ = rehearse("pass", "", "--workload", "blobs_mini")
    assert "rehearsal on blobs_never: ok" in out
    assert "rehearsal on blobs_mini: ok" in out


def test_data_that_were_not_prepared_are_wrong_input(rehearse):
    status, _, err = rehearse(data="none")
    assert status == 2
    assert "algoperf prepare" in err


def test_a_framework_that_cannot_be_told_is_asked_for(run, tmp_path, toy, written):
    toy()
    status, _, err = run(written(), "--workload", "blobs")
    assert status == 2
    assert "Cannot tell from the imports" in err and "--framework" in err


@pytest.mark.parametrize(
    ("name", "code", "framework"),
    [
        ("submission.py", "import jax.numpy as jnp", "jax"),
        ("submission.py", "from torch import nn", "pytorch"),
        ("submission.py", "from algoperf import pytorch_utils", "pytorch"),
        ("own_jax.py", "import numpy", "jax"),
        ("own_pytorch.py", "import jax, torch", "pytorch"),
    ],
)
def test_the_framework_is_told_from_imports_or_else_the_name(
    tmp_path, name, code, framework
):
    path = tmp_path / name
    path.write_text(code)
    assert rehearsal.framework_of(path)[0] == framework


def test_a_file_that_imports_both_frameworks_is_asked_about(tmp_path):
    path = tmp_path / "submission.py"
    path.write_text("import jax, torch")
    with pytest.raises(BadSettings, match="Cannot tell from the imports"):
        rehearsal.framework_of(path)


def told(result):
    findings = check._Findings()
    check._tell(result, findings)
    return findings


def test_a_budget_that_is_spent_before_any_evaluation_is_a_warning():
    result = Rehearsal("w_mini", Outcome.NOT_REACHED, "the budget was spent at step 1")
    assert "before any evaluation" in told(result).warnings[0]


def test_a_rehearsal_that_never_started_is_a_problem():
    result = Rehearsal("w_mini", None, "the message above says why")
    assert "not started: the message above" in told(result).problems[0]


def estimated(monkeypatch, counts, *states):
    monkeypatch.setattr(rehearsal, "parameter_counts", lambda framework: counts)
    findings = check._Findings()
    rehearsals = [Rehearsal("w", Outcome.NOT_REACHED, "", state=s) for s in states]
    check._estimate_memory("jax", rehearsals, findings)
    return findings


def test_state_is_estimated_by_the_parameters_of_a_full_workload(monkeypatch):
    state = StateSize(num_bytes=800, num_params=100)
    findings = estimated(monkeypatch, {"big": 1_000_000}, state)
    assert findings.warnings == []
    out = "\n".join(findings.facts)
    assert "8 bytes a parameter" in out
    assert "big: 1,000,000 parameters, at least 16.0 MB" in out


def test_state_that_no_official_device_holds_is_a_warning(monkeypatch):
    state = StateSize(num_bytes=3_200, num_params=100)
    (warning,) = estimated(monkeypatch, {"big": 500_000_000}, state).warnings
    assert "big: about 20.0 GB" in warning


def test_a_state_that_cannot_be_saved_is_a_warning(monkeypatch):
    (warning,) = estimated(monkeypatch, {}, None).warnings
    assert "could not be saved" in warning


def test_the_state_is_measured_without_parameters_and_generators(rehearse):
    """The toy keeps an int64 counter and a uint32 [2] key for 10 float64 parameters."""
    _, out, _ = rehearse()
    assert "optimizer state: 1.6 bytes a parameter (16 bytes on blobs_never)" in out


SAME = "killed after its first evaluation and resumed, it ended with the same bits"
RESUMES = {  # what is kept: (in update_params, on top, what the warning says)
    "in the state, later": ("state['later'] = [params, {global_step}]", "", None),
    "in the module": (
        "SEEN.append(1)\nparams['bias'] = params['bias'] + len(SEEN)",
        "SEEN = []",
        "differs after a resume: params/bias: value differs",
    ),
    "in the state, from the module": (
        "SEEN.append(1)\nstate['seen'] = [len(SEEN)]",
        "SEEN = []",
        "differs after a resume: optimizer_state/seen/[0]: value differs: 3 and 2",
    ),
    "in an open file": (
        "state['log'] = open(__file__)",
        "",
        "cannot be resumed: 'optimizer_state/log' is of type _io.TextIOWrapper",
    ),
    "in code made from text": (
        "exec('def f(): pass', names := {})\nstate['f'] = names['f']",
        "",
        "which was made after init_optimizer_state and cannot be saved",
    ),
    "nowhere": (
        "params['bias'] = params['bias'] + os.getpid() + time.time()",
        "import os, time",
        "the computation is not deterministic",
    ),
}


@pytest.mark.parametrize("what", RESUMES)
def test_a_rehearsal_is_resumed_and_what_differs_is_a_warning(rehearse, what):
    update, top, said = RESUMES[what]
    status, out, _ = rehearse(update, top)

    assert status == 0
    assert (SAME in out) is (said is None)
    if said is not None:
        (warning,) = [line for line in out.splitlines() if said in line]
        assert warning.startswith("warning: rehearsal on blobs_never: ")


def test_elements_are_counted_through_nested_shapes():
    shapes = {
        "a": {"w": ShapeTuple((3, 4)), "b": ShapeTuple(())},
        "c": ShapeTuple((2,)),
    }
    assert rehearsal.count_elements(shapes) == 12 + 1 + 2


def test_memory_that_nobody_counted_is_not_given_a_number():
    assert check._size(math.nan) == "not counted"


FRAMEWORKS = {
    "jax": ("flax", "submission.py"),
    "pytorch": ("torch", "submission_pytorch.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_template_is_ok_on_the_shipped_data(run, monkeypatch, tmp_path, framework):
    package, name = FRAMEWORKS[framework]
    pytest.importorskip(package)
    monkeypatch.setenv("ALGOPERF_DATA_DIR", str(tmp_path / "nothing"))
    status, out, _ = run(TEMPLATE / name)
    assert status == 0
    for workload in ("mnist_mini", "ogbg_mini"):
        assert f"rehearsal on {workload}: ok" in out
    assert "optimizer state: 4 bytes a parameter" in out
    assert out.endswith("verdict: ok\n")


@pytest.mark.slow
def test_both_frameworks_count_the_same_parameters():
    pytest.importorskip("flax")
    pytest.importorskip("torch")
    counts = rehearsal.parameter_counts("jax")
    assert counts.keys() <= registry.base_definitions().keys()
    assert counts["ogbg"] > 3_000_000
    assert rehearsal.parameter_counts("pytorch") == counts


def test_exceptions_come_first_and_the_verdict_last(static):
    _, out, _ = static(get_batch_size="def get_batch_size(name): return 12")
    lines = out.splitlines()
    kinds = [line.partition(":")[0] for line in lines]
    assert kinds[0] == "warning" and kinds[-1] == "verdict"
    last = max(n for n, kind in enumerate(kinds) if kind in ("warning", "look at"))
    assert all(kind in ("warning", "look at") for kind in kinds[: last + 1])
    assert sum("batch size" in line.lower() for line in lines[last + 1 :]) <= 2
