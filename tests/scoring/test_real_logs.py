"""Published logs as they are, and records that were written or never were."""

import json
import tarfile
from pathlib import Path

import pytest
from made_logs import GOOD, SLOW, ranked, write_trial
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
