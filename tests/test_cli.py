import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import algoperf
from algoperf import cli, registry
from algoperf.commands import listing
from algoperf.commands import run as run_command

HEAVY = ("numpy", "jax", "flax", "optax", "torch", "pandas", "scipy", "tensorflow")
PRINT_HEAVY = f"""
import sys
from algoperf import cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command in this process: status, stdout, stderr."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # loading a submission adds to it

    def run_command(*arguments) -> tuple[int, str, str]:
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


def run_module(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "algoperf.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_help_lists_every_command(run):
    status, out, _ = run("--help")
    assert status == 0
    for command in ("run", "score", "prepare", "list", "check"):
        assert f"\n    {command} " in out


@pytest.mark.parametrize("command", cli._COMMANDS)
def test_every_command_has_help(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert out.startswith(f"usage: algoperf {command}")


def test_the_version_is_the_packages(run):
    assert run("--version") == (0, f"{algoperf.__version__}\n", "")


def test_workloads_are_listed_with_targets_and_budgets(run):
    status, out, _ = run("list")
    assert status == 0
    (line,) = [line for line in out.splitlines() if line.startswith("mnist ")]
    assert line.split()[1:7] == ["development", "accuracy", ">", "0.97", ">", "0.97"]


def test_variants_are_listed_when_asked_for(run):
    _, out, _ = run("list", "--variants")
    names = [line.split()[0] for line in out.splitlines()[1:]]
    known = registry.definitions()
    assert names == [name for name in known if known[name].tier != "deepobs"]


def test_a_tier_is_listed_when_asked_for(run):
    _, out, _ = run("list", "--variants", "--tier", "deepobs")
    names = [line.split()[0] for line in out.splitlines()[1:]]
    known = registry.definitions()
    assert names == [name for name in known if known[name].tier == "deepobs"]


def test_the_list_fits_into_the_width_of_a_terminal():
    rows = [listing._HEADER, tuple("x" * n for n in (30, 5, 22, 9, 9, 6, 7, 4, 60))]
    assert listing.fitted(rows, None) == rows
    for width in (80, 100, 120, 160):
        shown = listing.fitted(rows, width)
        assert max(map(len, listing.table(shown).splitlines())) <= width
        assert shown[0][0] == "workload" and shown[0][-1] == "task"


def test_a_choice_that_is_misspelt_is_recognised(run):
    status, _, err = run("list", "--tier", "minni")
    assert status == 2 and "Did you mean 'mini'?" in err


def test_a_wrong_ruleset_is_refused(run):
    status, _, err = run("list", "--ruleset", "v0.7")
    assert status == 2
    assert "v0.7" in err and "paper" in err


@pytest.mark.parametrize("arguments", [["lst"], ["list", "--no-such-option"]])
def test_a_command_line_that_cannot_be_understood_shows_the_usage(run, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: algoperf")


def test_an_unknown_command_lists_all_commands(run):
    _, _, err = run("lst")
    assert "'lst'" in err
    assert all(command in err for command in cli._COMMANDS)


def test_mini_data_are_prepared_without_network(run, tmp_path):
    status, out, _ = run("prepare", "mnist_mini", "--data-dir", tmp_path)
    assert status == 0
    assert f"mnist_mini is ready in {tmp_path / 'mnist_mini'}" in out
    assert "train 3,000, validation 1,000, test 1,000" in out


def test_data_that_are_prepared_can_be_verified_and_prepared_again(run, tmp_path):
    run("prepare", "mnist_mini", "--data-dir", tmp_path)
    for extra in ([], ["--verify"]):
        status, out, _ = run("prepare", "mnist_mini", "--data-dir", tmp_path, *extra)
        assert status == 0 and "is ready" in out


def test_days_are_chosen_for_a_partial_copy_of_data_that_have_days(run, tmp_path):
    mini = ["prepare", "criteo1tb_mini", "--data-dir", tmp_path]
    status, out, _ = run(*mini, "--days", "0,23", "--subset", 5)
    assert status == 0
    assert "train 5, validation 5, test 5" in out
    status, out, _ = run(*mini, "--days", "1,23", "--subset", 5)
    assert status == 0 and "keeps the days that it has" in out
    status, _, err = run(*mini, "--days", "0,23")
    assert status and "with --subset N" in err
    status, _, err = run("prepare", "mnist_mini", "--days", "0", "--data-dir", tmp_path)
    assert status and "mnist_mini has no days" in err


def write_submission(folder, space=None):
    (folder / "submission.py").write_text(
        "def get_batch_size(workload_name): return 8\n"
        "def init_optimizer_state(a, b, c, d, e): pass\n"
        "def update_params(**kwargs): pass\n"
        "def data_selection(a, b, c, d, e, f, g, h): pass\n"
    )
    if space is not None:
        (folder / "tuning_search_space.json").write_text(json.dumps(space))
    return folder / "submission.py"


def test_a_good_submission_is_found_ok(run, tmp_path):
    space = {"rate": {"feasible_points": [0.5]}}
    status, out, _ = run("check", write_submission(tmp_path, space), "--static")
    assert status == 0
    assert "rate=0.5" in out
    assert "(--verbose lists them)." in out
    assert "mnist_mini: batch size" not in out
    _, out, _ = run("check", tmp_path / "submission.py", "--static", "--verbose")
    assert "mnist_mini: batch size 8 (submission)." in out
    assert out.endswith("verdict: ok\n")


def test_a_submission_with_a_wrong_batch_size_is_not_valid(run, tmp_path):
    path = write_submission(tmp_path)
    path.write_text(path.read_text().replace("return 8", "return 0"))
    status, out, _ = run("check", path)
    assert status == 1
    assert "problem: mnist:" in out
    assert out.endswith("verdict: not valid\n")


def run_arguments(folder, **changes) -> list:
    options = {
        "framework": "jax",
        "workload": "mnist_mini",
        "search-space": folder / "tuning_search_space.json",
        "data-dir": folder / "data",
        "experiment-dir": folder / "logs",
        **changes,
    }
    return ["run", folder / "submission.py"] + [
        word for name, value in options.items() for word in (f"--{name}", value)
    ]


WRONG_INPUT = {  # what is wrong: (arguments, given a folder; what the message must say)
    "workload": (lambda f: run_arguments(f, workload="mnist_mimi"), "'mnist_mini'?"),
    "framework": (lambda f: run_arguments(f, framework="jaxx"), "Did you mean 'jax'?"),
    "trials": (lambda f: run_arguments(f, trials=0), "--trials is 0"),
    "many trials": (
        lambda f: run_arguments(f, trials=99999999999999999999),
        "--trials is 99999999999999999999; it must be at most",
    ),
    "a long number": (
        lambda f: run_arguments(f, studies="9" * 5_000),
        "is not a whole number of at most 20 digits",
    ),
    "no number": (lambda f: run_arguments(f, trials="two"), "--trials: two is not a"),
    "a fraction": (lambda f: run_arguments(f, trials="1.5"), "--trials: 1.5 is not a"),
    "seed": (lambda f: run_arguments(f, seed=-1), "--seed is -1"),
    "not finite": (
        lambda f: run_arguments(f, **{"hang-seconds": "nan"}),
        "--hang-seconds: nan is not a finite number",
    ),
    "twice": (
        lambda f: run_arguments(f) + ["--workload", "mnist"],
        "--workload: given more than once",
    ),
    "twice, elsewhere": (
        lambda f: ["score", f, "--rules", "paper", "--rules", "v0.5"],
        "--rules: given more than once",
    ),
    "choice": (lambda f: run_arguments(f, ruleset="v7"), "--ruleset: invalid choice"),
    "empty path": (lambda f: ["score", ""], "DIR: The path is empty"),
    "empty output": (lambda f: ["score", f, "--json", ""], "--json: The path is empty"),
    "variable": (
        lambda f: run_arguments(f, **{"experiment-dir": "$UNSET_FOLDER/logs"}),
        "--experiment-dir: $UNSET_FOLDER/logs: the environment variable",
    ),
    "long path": (lambda f: ["score", "a" * 5_000], "characters): File name too long"),
    "long submission": (lambda f: ["check", f / ("a" * 300)], "File name too long"),
    "submission is a folder": (
        lambda f: ["run", f, *run_arguments(f)[2:]],
        "is a folder; give a file",
    ),
    "no file": (
        lambda f: run_arguments(f, **{"search-space": "/dev/zero"}),
        "/dev/zero is not a regular file",
    ),
    "tuning": (
        lambda f: (
            ["check", f / "submission.py", "--search-space"]
            + [f / "tuning_search_space.json", "--tuning-ruleset", "self"]
        ),
        "Self-tuning takes no search space",
    ),
    "check's framework": (
        lambda f: ["check", f / "submission.py", "--framework", "jaxx"],
        "Did you mean 'jax'?",
    ),
    "data": (run_arguments, "`algoperf prepare mnist_mini --data-dir /"),
    "prepare": (lambda f: ["prepare", "mnits"], "Did you mean 'mnist'?"),
    "raw": (lambda f: ["prepare", "mnist", "--raw", f / "none"], "is not a folder"),
    "verify": (
        lambda f: ["prepare", "mnist_mini", "--data-dir", f, "--verify"],
        "algoperf prepare",
    ),
    "data folder": (
        lambda f: ["prepare", "mnist_mini", "--data-dir", f / "submission.py"],
        "submission.py",
    ),
    "submission": (lambda f: ["check", f / "none.py"], "There is no submission file"),
    "run's submission": (
        lambda f: ["run", f / "none.py", *run_arguments(f)[2:]],
        "There is no submission file",
    ),
    "space": (
        lambda f: ["check", f / "submission.py", "--search-space", f / "none.json"],
        "There is no search space file",
    ),
    "logs": (lambda f: ["score", f / "none"], "none"),
}


@pytest.mark.parametrize(
    ("arguments", "said"), WRONG_INPUT.values(), ids=WRONG_INPUT.keys()
)
def test_wrong_input_is_one_message_and_status_2(run, tmp_path, arguments, said):
    write_submission(tmp_path, {"rate": {"feasible_points": [0.5]}})
    status, _, err = run(*arguments(tmp_path))
    assert status == 2
    assert err.startswith("algoperf: error: ") and said in err
    assert not (tmp_path / "logs").exists()


def test_home_and_variables_are_expanded_in_every_path(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("prepare", "mnist_mini", "--data-dir", "$DATA")
    assert status == 0 and str(tmp_path / "data" / "mnist_mini") in out
    monkeypatch.setenv("ALGOPERF_DATA_DIR", "~/data")
    for place in ([], ["--data-dir", "~/data"]):
        status, out, _ = run("prepare", "mnist_mini", "--verify", *place)
        assert status == 0 and "is ready" in out
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# What scripts and published results rely on. A new option is a line here and in the changelog.
RUN_OPTIONS = {
    "--allow-partial-data": False,
    "--calibrate": None,
    "--checkpoint-every": "auto",
    "--cockpit": None,
    "--cockpit-adapt-bins": None,
    "--cockpit-batch-norm": "refuse",
    "--cockpit-curvature": "ggn_mc",
    "--cockpit-every": "10",
    "--data-dir": None,
    "--eval-every-steps": None,
    "--experiment-dir": Path("experiments"),
    "--experiment-name": None,
    "--first-study": 1,
    "--first-trial": 1,
    "--framework": None,
    "--hang-seconds": None,
    "--json": None,
    "--keep-evidence": True,
    "--last-trial": None,
    "--log-to": None,
    "--max-steps": None,
    "--no-checkpoints": True,
    "--notice-seconds": 30.0,
    "--num-processes": 1,
    "--overwrite": "refuse",
    "--pdb": False,
    "--precision": "float32",
    "--profile": None,
    "--profile-steps": "10:20",
    "--resume": "refuse",
    "--ruleset": "paper",
    "--search-space": None,
    "--seed": 0,
    "--studies": None,
    "--tensorboard": None,
    "--torch-compile": False,
    "--trials": None,
    "--tuning-ruleset": None,  # inferred from the search space
    "--verify": False,
    "--workload": None,
}


def test_the_options_of_run_and_their_defaults_change_knowingly():
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    found = {
        action.option_strings[0]: action.default
        for action in parser._actions
        if action.option_strings and action.dest != "help"
    }
    assert found == RUN_OPTIONS


def test_the_help_of_run_shows_every_option(run):
    _, out, _ = run("run", "--help")
    options = re.findall(r"^  (?:-h, )?(--[a-z-]+)", out, re.MULTILINE)
    assert sorted(options) == sorted([*RUN_OPTIONS, "--help"])


def test_an_option_is_written_out(run):
    status, _, err = run("list", "--variant")
    assert status == 2
    assert "unrecognized arguments: --variant. Did you mean '--variants'?" in err


def test_a_process_ends_with_the_status_and_without_a_traceback(tmp_path):
    result = run_module("check", tmp_path / "none.py")
    assert result.returncode == 2
    assert result.stderr.startswith("algoperf: error: There is no submission file")
    assert "Traceback" not in result.stderr


def test_a_fault_of_the_harness_keeps_its_traceback(run, monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(registry, "definitions", fail)
    with pytest.raises(ZeroDivisionError):
        run("list")


def test_an_interrupted_command_says_so(run, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "definitions", interrupt)
    assert run("list") == (130, "", "algoperf: interrupted\n")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"]])
def test_looking_around_imports_nothing_heavy(arguments):
    result = subprocess.run(
        [sys.executable, "-c", PRINT_HEAVY, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "heavy: []"
