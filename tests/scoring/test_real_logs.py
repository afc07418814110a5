"""Logs as people have them: published ones, links, copies, files that are none, odd records."""

import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scoring_cases import (
    COMPAT,
    EXACT,
    V10_COMPAT,
    V10_EXACT,
    published_trials,
    published_v10_trials,
    unpack_published,
)

from algoperf import cli, logs
from algoperf.scoring.leaderboard import score

SHARED = Path(__file__).parents[3] / "shared" / "data"
HEADER = "global_step,accumulated_submission_time,score,validation/accuracy\n"
GOOD = HEADER + "1,10.0,10.0,0.5\n2,20.0,20.0,0.95\n"
SLOW = HEADER + "1,10.0,10.0,0.5\n2,30.0,30.0,0.95\n"
TARGETS = {
    "base_workloads": ["alpha", "beta"],
    "workloads": {
        name: {
            "target_metric_name": "accuracy",
            "validation_target_value": 0.9,
            "test_target_value": 0.9,
            "budget_seconds": 1000,
        }
        for name in ("alpha", "beta")
    },
}


def write_trial(
    folder: Path, content: str | bytes = GOOD, **files: dict[str, object]
) -> Path:
    """A trial's folder with an evaluation file and JSON files (`meta_data_0=...`)."""
    folder.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    (folder / "eval_measurements.csv").write_bytes(data)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def write_submission(folder: Path, content: str = GOOD, studies: int = 1) -> Path:
    for study in range(1, studies + 1):
        for workload in ("alpha", "beta"):
            write_trial(folder / f"study_{study}/{workload}_jax/trial_1", content)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two submissions on two workloads."""
    (tmp_path / "targets.json").write_text(json.dumps(TARGETS))
    write_submission(tmp_path / "logs/one")
    write_submission(tmp_path / "logs/two", SLOW)
    return tmp_path


@pytest.fixture
def run(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `algoperf score` on the folder: status, stdout, stderr; never a traceback."""

    def call(*more: str, directory: Path = root / "logs") -> tuple[int, str, str]:
        targets = (
            () if "--targets" in more else ("--targets", str(root / "targets.json"))
        )
        words = ["score", str(directory), "--rules", "v0.5", *targets, *more]
        try:
            status = cli.main(words)
        except SystemExit as error:
            status = int(error.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return call


def ranked(out: str) -> dict[str, float]:
    """Scores as printed."""
    rows: Iterator[str] = iter(out.split("\n\n")[0].splitlines()[4:])
    return {row.split()[1]: float(row.split()[2]) for row in rows}


def rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items()}


# Published logs


@pytest.mark.parametrize(("compat", "expected"), [(False, EXACT), (True, COMPAT)])
def test_published_logs_need_no_targets_file_and_no_draw(compat, expected):
    board = score(published_trials(), "v0.5", compat=compat)
    assert rounded(board.scores) == expected
    assert len(board.pool.held_out) == 6
    assert not any("ran towards" in warning for warning in board.warnings)


@pytest.mark.parametrize(
    ("compat", "expected"), [(False, V10_EXACT), (True, V10_COMPAT)]
)
def test_published_logs_of_version_1_are_scored(compat, expected):
    board = score(published_v10_trials(), "v1.0", compat=compat)
    assert rounded(board.scores) == expected
    assert len(board.pool.bases) == 9 and board.pool.tuning == "self"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full published logs are not here")
@pytest.mark.parametrize(
    ("archive", "rules", "exact", "compat"),
    [
        ("published_v05_self_tuning_logs", "v0.5", EXACT, COMPAT),
        ("published_v10_part_self_tuning_logs", "v1.0", V10_EXACT, V10_COMPAT),
    ],
)
def test_full_published_archives_are_scored(tmp_path, archive, rules, exact, compat):
    with tarfile.open(SHARED / f"{archive}.tar.xz") as content:
        content.extractall(tmp_path, filter="data")
    trials = logs.read(tmp_path)
    assert rounded(score(trials, rules).scores) == exact
    assert rounded(score(trials, rules, compat=True).scores) == compat


def test_logs_of_another_version_are_noticed_by_their_budgets():
    (warning,) = [
        w
        for w in score(published_v10_trials(), "v0.6").warnings
        if "other budgets" in w
    ]
    assert "fastmri (4,118 s, not 6,645 s)" in warning and "--rules" in warning


def test_published_hardware_and_versions_are_reported(tmp_path, capsys):
    folder = unpack_published(tmp_path / "logs", "v10")
    output = tmp_path / "report.html"
    words = ["report", str(folder), "--rules", "v1.0", "-o", str(output)]
    assert cli.main(words) == 0
    page = output.read_text()
    assert (
        "4 x NVIDIA A100-SXM4-40GB on Intel(R) Xeon(R) CPU @ 2.20GHz (24 cores)" in page
    )
    assert (
        "python 3.11.10" in page and "b21be29be0a1573fb4f78f849aea019cdb520862" in page
    )


@pytest.mark.parametrize(
    "meta",
    [
        {"gpu.count": 8},
        {},
        {"rng_seed": 1, "workload.step_hint": None},
        {"workload.target_metric_name": 5, "workload.validation_target_value": "x"},
        {"workload.max_allowed_runtime_sec": 10**400, "gpu_count": [8]},
        {"seed": 1, "devices": 3, "host": [], "versions": "x", "commit": 7},
    ],
)
def test_a_trial_that_we_did_not_write_is_judged_by_its_evaluations(root, run, meta):
    for folder in (root / "logs").glob("*/*/*/*"):
        (folder / "meta_data_0.json").write_text(json.dumps(meta))
    status, out, _ = run()
    assert status == 0 and ranked(out) == {"one": 1.0, "two": 0.8333}


OURS = {
    "ruleset": "v0.5",
    "tuning_ruleset": "self",
    "target": {
        "metric": "accuracy",
        "better": "higher",
        "validation": 0.9,
        "test": 0.9,
    },
}


def test_a_trial_of_ours_without_an_outcome_is_a_miss_that_is_named(root, run):
    folder = root / "logs/two/study_1/alpha_jax/trial_1"
    write_trial(folder, SLOW, meta_data_0=OURS)
    status, out, _ = run()
    assert status == 0 and ranked(out)["two"] == round(0.8333 / 2, 4)
    assert "two: 1 trials are still running or were cut off" in out
    assert str(folder) in out


def test_a_board_on_which_no_trial_counts_is_an_error(root, run):
    for folder in (root / "logs").glob("*/*/*/*"):
        write_trial(folder, GOOD, meta_data_0=OURS)
    status, out, err = run()
    assert (status, out) == (2, "")
    assert "None of the 4 trials counts" in err
    assert "one/study_1/alpha_jax/trial_1 is unfinished: it has no outcome.json" in err


def test_a_board_of_invalid_trials_is_an_error(root, run):
    for folder in (root / "logs").glob("*/*/*/*"):
        write_trial(folder, outcome={"outcome": "invalid", "reason": "threads"})
    status, _, err = run()
    assert status == 2 and "trial_1/outcome.json says invalid (threads)" in err


# Links


@pytest.mark.parametrize(
    "level", ["", "study_1", "study_1/alpha_jax", "study_1/alpha_jax/trial_1"]
)
def test_linked_folders_count_at_every_level(root, run, level):
    expected = run()[1]
    original = root / "logs/two" / level
    moved = root / "elsewhere" / "x"
    moved.parent.mkdir()
    shutil.move(original, moved)
    original.symlink_to(moved)
    assert run() == (0, expected, "")


def test_a_linked_evaluation_file_is_read(root, run):
    expected = run()[1]
    file = root / "logs/two/study_1/alpha_jax/trial_1/eval_measurements.csv"
    shutil.move(file, root / "moved.csv")
    file.symlink_to(root / "moved.csv")
    assert run()[1] == expected


def test_a_linked_root_is_read(root, run):
    (root / "link").symlink_to(root / "logs")
    assert ranked(run(directory=root / "link")[1]) == {"one": 1.0, "two": 0.8333}


@pytest.mark.parametrize(
    "place", ["logs/loop", "logs/one/study_2", "logs/one/study_1/loop"]
)
@pytest.mark.parametrize("target", ["self", ".", "..", "logs"])
def test_a_loop_of_links_is_one_sentence(root, run, place, target):
    link = root / place
    link.symlink_to({"self": link, "logs": root / "logs"}.get(target, target))
    status, out, err = run()
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "loop" in err or "levels of symbolic links" in err
    assert str(link) in err


def test_two_links_that_lead_to_each_other_are_one_sentence(root, run):
    (root / "logs/a").symlink_to(root / "logs/b")
    (root / "logs/b").symlink_to(root / "logs/a")
    status, _, err = run()
    assert status == 2 and err.count("\n") == 1


def test_a_circle_through_another_folder_is_one_sentence(root, run):
    (root / "store").mkdir()
    (root / "store/back").symlink_to(root / "logs")
    (root / "logs/out").symlink_to(root / "store")
    status, _, err = run()
    assert status == 2 and "logs/out/back leads back to" in err


def test_a_broken_link_is_noted(root, run):
    (root / "logs/three").symlink_to(root / "gone")
    status, out, _ = run()
    assert status == 0 and "left out: three is a link to nothing" in out


def test_a_folder_that_is_reached_twice_counts_once(root, run):
    (root / "logs/a_latest").symlink_to(root / "logs/one")
    status, out, _ = run()
    assert status == 0 and set(ranked(out)) == {"one", "two"}
    assert "left out: a_latest is the same folder as one" in out


# Copies, backups, hidden folders


@pytest.mark.parametrize(
    "name",
    [
        "study_1.bak",
        "study_1 (copy)",
        "study_1 (another copy)",
        "study_1 - Copy",
        "study_1 - Copy (2)",
        "study_1 copy 2",
        "Copy of study_1",
        "study_1~",
        "study_1_old",
        "study_1.2024-08-01",
        ".study_1",
        "backup",
        "alpha_jax",  # named like a workload, and holds no trial
    ],
)
def test_a_copy_inside_a_submission_is_noted(root, run, name):
    before = ranked(run()[1])
    shutil.copytree(root / "logs/one/study_1", root / "logs/one" / name)
    status, out, _ = run()
    assert status == 0 and ranked(out) == before
    assert f"left out: one/{name} " in out


@pytest.mark.parametrize(
    "name",
    [
        "one.bak",
        "one.bak.2",
        "one (copy)",
        "one (1)",
        "one - Copy",
        "Kopie von one",
        "one~",
        ".snapshot",
        ".one",
        "one.orig",
        "one.old",
        "one_backup",
        "one-copy",
        "logs~",
        "__MACOSX",
        "#one#",
    ],
)
def test_a_copied_submission_is_noted(root, run, name):
    before = ranked(run()[1])
    shutil.copytree(root / "logs/one", root / "logs" / name)
    status, out, _ = run()
    assert status == 0 and ranked(out) == before
    assert f"left out: {name} " in out


@pytest.mark.parametrize(
    "path",
    [
        "study_1/alpha_jax.bak",
        "study_1/alpha_jax (copy)",
        "study_1/alpha_jax_old",
        "study_1/alpha_jax_copy",
        "study_1/.alpha_jax",
        "study_1/alpha_jax/trial_1.bak",
        "study_1/alpha_jax/trial_1 (copy)",
        "study_1/alpha_jax/trial_1_old",
        "study_1/alpha_jax/.trial_1",
        "study_1/alpha_jax/trial_1~",
    ],
)
def test_a_copied_workload_or_trial_is_noted(root, run, path):
    before = ranked(run()[1])
    original = path.split("/")[:-1] + [
        "alpha_jax" if path.count("/") == 1 else "trial_1"
    ]
    shutil.copytree(root / "logs/one" / Path(*original), root / "logs/one" / path)
    status, out, _ = run()
    assert status == 0 and ranked(out) == before
    assert f"left out: one/{path} " in out


@pytest.mark.parametrize(
    "name", ["one_v2", "one_jax", "backup_free", "copying", "adam.v2"]
)
def test_a_submission_with_a_plain_name_counts(root, run, name):
    write_submission(root / "logs" / name)
    assert name in ranked(run()[1])


def test_a_folder_that_holds_nothing_but_copies_says_so(root, run):
    shutil.rmtree(root / "logs/two")
    shutil.move(root / "logs/one", root / "logs/one.bak")
    status, _, err = run()
    assert status == 2 and "No trials under" in err
    assert "one.bak is named like a copy or a backup" in err


def test_many_left_out_folders_are_counted(root, run):
    for number in range(30):
        (root / f"logs/one/scratch_{number}").mkdir()
    out = run()[1]
    assert out.count("left out: one/scratch") == 10
    assert "left out: 20 more folders" in out


# Metrics that were never logged


@pytest.mark.parametrize("column", ["validation/top1", "test/accuracy"])
def test_a_metric_that_was_never_logged_is_named_and_not_called_diverged(
    root, run, column
):
    file = root / "logs/one/study_1/alpha_jax/trial_1/eval_measurements.csv"
    file.write_text(GOOD.replace("validation/accuracy", column))
    status, out, _ = run()
    assert status == 0 and "diverged" not in out
    assert f"warning: {file} has no value of 'validation/accuracy'" in out


def test_a_metric_whose_cells_are_all_empty_was_never_logged(root, run):
    file = root / "logs/one/study_1/alpha_jax/trial_1/eval_measurements.csv"
    file.write_text(GOOD.replace("0.95", "").replace("0.5", ""))
    out = run()[1]
    assert f"warning: {file} has no value of 'validation/accuracy'" in out
    assert "diverged" not in out


def test_a_metric_that_nobody_logged_is_an_error(root, run):
    for file in (root / "logs").rglob("*.csv"):
        file.write_text(GOOD.replace("validation/accuracy", "validation/top1"))
    status, _, err = run()
    assert status == 2
    assert "eval_measurements.csv has no value of 'validation/accuracy'" in err


# Regular files only


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have 108 characters
    try:
        server.bind(path.name)
    finally:
        os.chdir(here)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/full")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


ODD_FILES = (make_fifo, make_socket, make_device, make_folder, make_broken_link)


@pytest.mark.parametrize("make", ODD_FILES)
@pytest.mark.parametrize(
    "name",
    [
        "eval_measurements.csv",
        "meta_data_0.json",
        "flags_0.json",
        "hparams.json",
        "outcome.json",
    ],
)
def test_a_file_of_a_trial_that_is_no_regular_file_is_refused(root, run, name, make):
    file = root / "logs/one/study_1/alpha_jax/trial_1" / name
    file.unlink(missing_ok=True)
    make(file)
    status, _, err = run()
    assert status == 2 and str(file) in err and err.count("\n") == 1


@pytest.mark.parametrize("make", ODD_FILES)
def test_a_targets_file_that_is_no_regular_file_is_refused(root, run, make):
    file = root / "odd"
    make(file)
    status, _, err = run("--targets", str(file))
    assert status == 2 and str(file) in err and err.count("\n") == 1


def test_an_endless_file_is_not_read(root, run):
    file = root / "logs/one/study_1/alpha_jax/trial_1/eval_measurements.csv"
    os.truncate(file, 10**12)
    status, _, err = run()
    assert status == 2 and "1,000,000,000,000 bytes" in err


def test_an_archive_is_to_be_unpacked_first(root, run):
    archive = root / "logs.tar.xz"
    with tarfile.open(archive, "w:xz") as content:
        content.add(root / "logs", "logs")
    status, _, err = run(directory=archive)
    assert status == 2 and "unpack an archive first" in err


# Records that name trial and file


@pytest.mark.parametrize("name", ["both", ["self"], 5, ""])
@pytest.mark.parametrize("file", ["meta_data_0", "flags_0"])
def test_an_unknown_tuning_ruleset_names_the_file(root, run, name, file):
    folder = root / "logs/one/study_1/alpha_jax/trial_1"
    (folder / f"{file}.json").write_text(json.dumps({"tuning_ruleset": name}))
    status, _, err = run()
    assert (
        status == 2 and f"{folder}/{file}.json names a tuning ruleset {name!r}" in err
    )


def test_mixed_tuning_rulesets_name_a_file_of_each(root, run):
    folders = sorted((root / "logs").glob("*/*/*/*"))
    for folder, name in zip(folders, ("self", "external", "self", "self"), strict=True):
        (folder / "flags_0.json").write_text(json.dumps({"tuning_ruleset": name}))
    status, _, err = run()
    assert status == 2
    assert (
        f"external ({folders[1]}/flags_0.json), self ({folders[0]}/flags_0.json)" in err
    )


def test_a_partial_copy_of_the_data_names_the_file(root, run):
    folder = root / "logs/one/study_1/beta_jax/trial_1"
    (folder / "meta_data_3.json").write_text('{"partial_data": true}')
    status, _, err = run()
    assert (
        status == 2 and f"{folder}/meta_data_3.json: the trial ran on a partial" in err
    )


def test_mixed_precisions_name_a_file_of_each(root, run):
    for name, precision in (("one", "float32"), ("two", "bf16")):
        for folder in (root / "logs" / name).glob("*/*/*"):
            (folder / "meta_data_0.json").write_text(
                json.dumps({"precision": precision})
            )
    status, _, err = run()
    assert status == 2
    assert f"bf16 ({root}/logs/two/study_1/" in err and "float32 (" in err


# Times


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "2,20.0,20.0",
            "2,-2423,-2423",
            "-2423.0 is not a finite number of at least 0",
        ),
        ("2,20.0,20.0", "2,5,5", "time runs backwards"),
        ("2,20.0,20.0", "2,nan,nan", "not a finite number"),
        ("2,20.0,20.0", "2,inf,inf", "not a finite number"),
        ("2,20.0,20.0", "2,,", "not a finite number"),
        ("2,20.0,20.0", "-2,20,20", "not a finite number of at least 0"),
        ("2,20.0,20.0", "2,20.0,21.0", "'score'"),
    ],
)
def test_times_that_no_run_can_have_are_refused(root, run, old, new, words):
    file = root / "logs/one/study_1/alpha_jax/trial_1/eval_measurements.csv"
    file.write_text(GOOD.replace(old, new))
    status, _, err = run()
    assert status == 2 and f"{file}, line 3" in err and words in err


@pytest.mark.parametrize("value", ["-2423", "-inf", "inf"])
@pytest.mark.parametrize(
    "column", ["accumulated_eval_time", "accumulated_logging_time", "total_duration"]
)
def test_other_durations_that_no_run_can_have_are_refused(root, run, column, value):
    file = root / "logs/one/study_1/alpha_jax/trial_1/eval_measurements.csv"
    rows = GOOD.splitlines()
    file.write_text(f"{column},{rows[0]}\n1,{rows[1]}\n{value},{rows[2]}\n")
    status, _, err = run()
    assert status == 2 and f"{file}, line 3, column '{column}'" in err


# Arguments


@pytest.mark.parametrize(
    "words",
    [
        ("--studies", "0"),
        ("--studies", "-3"),
        ("--studies", "99999999999999999999"),
        ("--studies", "9" * 5000),
        ("--studies", "1.5"),
        ("--studies", ""),
        ("--held-out", ","),
        ("--held-out", ""),
        ("--held-out", "alpha,,beta"),
        ("--held-out", "alpha,alpha"),
        ("--held-out", "nothing"),
        ("--json", ""),
        ("--figure", ""),
        ("--targets", ""),
        ("--targets", "/dev/full"),
        ("--targets", "x" * 5000),
        ("--json", "x" * 300),
        ("--json", "y/" * 5000),
        ("--json", "/dev/null"),
        ("--json", "/dev/full"),
        ("--json", "."),
        ("--figure", "/proc/version"),
        ("--reference", ""),
        ("--rules", "v9"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(root, run, words, monkeypatch):
    monkeypatch.chdir(root)
    status, _, err = run(*words)
    assert status == 2
    assert len(err.strip().splitlines()[-1]) < 12_000


def test_no_held_out_workloads_can_be_asked_for(root, run):
    assert run("--held-out", "none")[0] == 0


def test_an_empty_directory_argument_is_not_the_current_folder(
    root, monkeypatch, capsys
):
    monkeypatch.chdir(root / "logs")
    with pytest.raises(SystemExit) as caught:
        cli.main(["score", "", "--targets", str(root / "targets.json")])
    assert caught.value.code == 2


# Outputs


def test_json_to_standard_output_is_json_alone(root, run, monkeypatch):
    monkeypatch.chdir(root)
    status, out, _ = run("--json", "-")
    assert status == 0 and json.loads(out)["submissions"][0]["submission"] == "one"
    assert not (root / "-").exists()


def test_an_output_that_is_a_loop_of_links_is_one_sentence(root, run):
    (root / "loop").symlink_to(root / "loop")
    for path in (root / "loop", root / "loop/board.json"):
        status, _, err = run("--json", str(path))
        assert status == 2 and err.count("\n") == 1


def test_an_output_that_is_a_link_keeps_the_link(root, run):
    (root / "link.json").symlink_to(root / "real.json")
    (root / "real.json").write_text("old")
    assert run("--json", str(root / "link.json"))[0] == 0
    assert (root / "link.json").is_symlink()
    assert json.loads((root / "real.json").read_text())["ruleset"] == "v0.5"


def test_two_outputs_in_one_place_are_refused(root, run):
    status, _, err = run("--json", str(root / "x"), "--figure", str(root / "logs/../x"))
    assert status == 2 and "same place" in err
    assert not (root / "x").exists()


def test_an_output_that_fails_leaves_the_old_file(root, run, monkeypatch):
    (root / "board.json").write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    status, _, err = run("--json", str(root / "board.json"))
    assert status == 2 and "No space left on device" in err and "--resume" not in err
    assert (root / "board.json").read_text() == "old"
    assert {p.name for p in root.iterdir()} == {"board.json", "logs", "targets.json"}
