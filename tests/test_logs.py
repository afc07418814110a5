import csv
import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from algoperf import logs
from algoperf.errors import BadLogs
from algoperf.logs import (
    TIME_COLUMNS,
    EvaluationRow,
    Outcome,
    OutcomeRecord,
    TrialId,
    TrialLog,
)
from algoperf.trial_meta import Host, TrialMeta

IDENTITY = TrialId("mine", 2, "mnist_mini", "jax", 3)


def row(step: int, **metrics) -> EvaluationRow:
    """A row of evaluation, with keys in no particular order."""
    seconds = 1.5 * step
    return EvaluationRow.from_json(
        {
            **metrics,
            "total_duration": seconds + 9,
            "accumulated_logging_time": 0.25,
            "accumulated_eval_time": 2.0,
            "score": seconds,
            "accumulated_submission_time": seconds,
            "global_step": step,
        }
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    return IDENTITY.folder(tmp_path)


def read_back(folder):
    return logs.read_trial(IDENTITY, folder)


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps_of(path) -> list[int]:
    return [int(row["global_step"]) for row in rows_of(path)]


def fail(*_, **__):
    raise OSError(28, "No space left on device")


def test_the_folder_of_a_trial_is_the_published_one():
    assert IDENTITY.folder(Path("all")) == Path(
        "all/mine/study_2/mnist_mini_jax/trial_3"
    )


def test_written_trials_are_found_by_their_identity(tmp_path, folder):
    TrialLog(folder).add_evaluation(row(1))
    (trial,) = logs.read(tmp_path)
    assert (trial.id, trial.folder) == (IDENTITY, folder)


def test_evaluations_come_back_exactly(folder):
    log = TrialLog(folder)
    values = [0.1 + 0.2, 1e-300, 12345678.912345678]
    for step, value in enumerate(values, start=1):
        log.add_evaluation(row(step, **{"validation/loss": value}))
    trial = read_back(folder)
    assert trial.metric("validation/loss").tolist() == values
    assert trial.columns["global_step"].tolist() == [1, 2, 3]
    assert trial.columns["accumulated_submission_time"].tolist() == [1.5, 3.0, 4.5]


def test_metrics_that_are_no_numbers_stay_so(folder):
    log = TrialLog(folder)
    for step, value in enumerate([math.nan, math.inf, -math.inf], start=1):
        log.add_evaluation(row(step, **{"test/loss": value}))
    np.testing.assert_array_equal(
        read_back(folder).metric("test/loss"), [math.nan, math.inf, -math.inf]
    )


def test_time_columns_come_first_and_metrics_in_order(folder):
    metrics = {"validation/loss": 1.0, "test/loss": 1.0, "validation/accuracy": 0.5}
    TrialLog(folder).add_evaluation(row(1, **metrics))
    header = (folder / "eval_measurements.csv").read_text().splitlines()[0].split(",")
    assert header == [
        *TIME_COLUMNS,
        "accumulated_checkpoint_time",
        "test/loss",
        "validation/accuracy",
        "validation/loss",
    ]


def test_a_column_that_appears_later_is_empty_in_earlier_rows(folder):
    log = TrialLog(folder)
    log.add_evaluation(row(1, **{"validation/loss": 1.0}))
    log.add_evaluation(row(2, **{"validation/loss": 2.0, "validation/wer": 0.5}))
    np.testing.assert_array_equal(
        read_back(folder).metric("validation/wer"), [math.nan, 0.5]
    )


def test_rows_tell_how_often_the_trial_was_preempted(folder):
    TrialLog(folder).add_evaluation(row(1))
    TrialLog(folder, preemptions=1, keep_steps=1).add_evaluation(row(2))
    assert read_back(folder).columns["preemption_count"].tolist() == [0, 1]


def test_a_resumed_trial_keeps_rows_up_to_its_checkpoint(folder):
    first = TrialLog(folder)
    for step in (1, 5, 9):
        first.add_evaluation(row(step, **{"test/loss": step / 10}))
    resumed = TrialLog(folder, preemptions=1, keep_steps=5)
    resumed.add_evaluation(row(8, **{"test/loss": 0.8}))
    trial = read_back(folder)
    assert trial.columns["global_step"].tolist() == [1, 5, 8]
    assert trial.metric("test/loss").tolist() == [0.1, 0.5, 0.8]


def test_rows_after_the_checkpoint_are_gone_once_the_trial_goes_on(folder):
    """Else a trial that ends without another evaluation keeps rows of work that it lost."""
    first = TrialLog(folder)
    for step in (1, 9):
        first.append_scalar_metrics({"loss": 1.0}, step)
        first.add_evaluation(row(step))
    resumed = TrialLog(folder, preemptions=1, keep_steps=1)
    resumed.start(TrialMeta(), {}, None)
    resumed.finish(OutcomeRecord(Outcome.NOT_REACHED, "the budget was spent"))
    assert steps_of(folder / "eval_measurements.csv") == [1]
    assert steps_of(folder / "measurements.csv") == [1]


def test_a_trial_that_starts_anew_keeps_no_row(folder):
    TrialLog(folder).add_evaluation(row(5))
    TrialLog(folder).add_evaluation(row(1))
    assert read_back(folder).columns["global_step"].tolist() == [1]


def test_kept_rows_do_not_change_when_written_again(folder):
    TrialLog(folder).add_evaluation(
        row(1, **{"test/loss": 0.1 + 0.2, "test/x": math.nan})
    )
    before = rows_of(folder / "eval_measurements.csv")
    TrialLog(folder, preemptions=1, keep_steps=1).add_evaluation(row(2))
    assert rows_of(folder / "eval_measurements.csv")[:1] == before


def test_a_damaged_file_is_one_message_when_a_trial_is_resumed(folder):
    TrialLog(folder).add_evaluation(row(1))
    path = folder / "eval_measurements.csv"
    path.write_text(path.read_text().replace("\n1,", "\nx1,"))
    with pytest.raises(BadLogs, match=r"eval_measurements\.csv"):
        TrialLog(folder, preemptions=1, keep_steps=1)


def test_scalars_are_written_at_the_next_evaluation(folder):
    log = TrialLog(folder)
    log.append_scalar_metrics({"loss": 0.5}, 1)
    assert not (folder / "measurements.csv").exists()
    log.add_evaluation(row(1))
    assert rows_of(folder / "measurements.csv") == [{"global_step": "1", "loss": "0.5"}]


def test_scalars_after_the_last_evaluation_are_written_at_the_end(folder):
    log = TrialLog(folder)
    log.add_evaluation(row(1))
    log.append_scalar_metrics({"loss": 0.5}, 2)
    log.finish(OutcomeRecord(Outcome.NOT_REACHED, "why"))
    assert steps_of(folder / "measurements.csv") == [2]


def test_scalars_may_change_from_step_to_step(folder):
    log = TrialLog(folder)
    log.append_scalar_metrics({"loss": 0.5}, 1)
    log.append_scalar_metrics({"grad_norm": 2}, 2)
    log.append_scalar_metrics({"loss": math.nan, "grad_norm": 3}, 3)
    log.flush_scalars()
    assert [list(row.values()) for row in rows_of(folder / "measurements.csv")] == [
        ["1", "", "0.5"],
        ["2", "2.0", ""],
        ["3", "3.0", "nan"],
    ]


def test_scalars_may_be_arrays_of_one_value(folder):
    log = TrialLog(folder)
    log.append_scalar_metrics({"loss": np.float32(0.5), "norm": np.array(2.0)}, 1)
    log.flush_scalars()
    assert rows_of(folder / "measurements.csv") == [
        {"global_step": "1", "loss": "0.5", "norm": "2.0"}
    ]


def test_a_scalar_cannot_replace_the_step(folder):
    log = TrialLog(folder)
    log.append_scalar_metrics({"global_step": 77, "loss": 0.5}, 1)
    log.flush_scalars()
    assert steps_of(folder / "measurements.csv") == [1]


def test_scalars_of_a_resumed_trial_go_on_after_its_checkpoint(folder):
    first = TrialLog(folder)
    for step in (1, 2, 3):
        first.append_scalar_metrics({"loss": step}, step)
    first.flush_scalars()
    resumed = TrialLog(folder, preemptions=1, keep_steps=2)
    resumed.append_scalar_metrics({"loss": 30}, 3)
    resumed.flush_scalars()
    losses = [row["loss"] for row in rows_of(folder / "measurements.csv")]
    assert losses == ["1.0", "2.0", "30.0"]


def test_what_is_known_at_the_start_comes_back(folder):
    TrialLog(folder).start(
        TrialMeta(host=Host(cores=2)), {"seed": 0}, {"rate": 0.1 + 0.2}
    )
    trial = read_back(folder)
    assert trial.meta.host == Host(cores=2)
    assert trial.hyperparameters == {"rate": 0.1 + 0.2}
    assert json.loads((folder / "flags_0.json").read_text()) == {"seed": 0}


def test_self_tuning_has_no_hyperparameters(folder):
    TrialLog(folder).start(TrialMeta(), {}, None)
    assert read_back(folder).hyperparameters == {}


def test_every_part_of_a_preempted_trial_has_its_own_meta_data(folder):
    TrialLog(folder).start(TrialMeta(others={"part": 0}), {}, None)
    TrialLog(folder, preemptions=1, keep_steps=1).start(
        TrialMeta(others={"part": 1}), {}, None
    )
    assert read_back(folder).meta.others == {"part": 1}
    assert json.loads((folder / "meta_data_0.json").read_text())["part"] == 0


@pytest.mark.parametrize("outcome", Outcome)
def test_outcomes_come_back(folder, outcome):
    TrialLog(folder).finish(OutcomeRecord(outcome, "a reason", {"submission": 1.5}))
    record = logs.read_outcome(folder)
    assert (record.outcome, record.reason) == (outcome, "a reason")
    seconds = json.loads((folder / "outcome.json").read_text())["seconds"]
    assert seconds == {"submission": 1.5}


def test_a_running_trial_has_no_outcome(folder):
    TrialLog(folder).add_evaluation(row(1))
    assert logs.read_outcome(folder) is None


def test_written_json_is_strict_json(tmp_path):
    path = tmp_path / "value.json"
    logs.write_json(path, {"loss": math.nan, "budgets": [math.inf, 1.5]})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "loss": "nan",
        "budgets": ["inf", 1.5],
    }


def test_values_that_json_lacks_are_written_as_text(tmp_path):
    path = tmp_path / "value.json"
    logs.write_json(path, {"path": Path("a/b")})
    assert json.loads(path.read_text()) == {"path": "a/b"}


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "value.txt"
    logs.write_atomically(path, "old")
    with path.open() as reader:
        logs.write_atomically(path, b"new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path, monkeypatch, function
):
    path = tmp_path / "value.txt"
    logs.write_atomically(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(BadLogs, match="No space left on device") as caught:
            logs.write_atomically(path, "new")
    assert str(path) in str(caught.value) and "--resume" in str(caught.value)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["value.txt"]


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadLogs, match=r"Could not write .*file/trial/value\.txt"):
        logs.write_atomically(tmp_path / "file" / "trial" / "value.txt", "new")


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    path, plain = tmp_path / "value.txt", tmp_path / "plain.txt"
    logs.write_atomically(path, "new")
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_evaluations_are_intact_after_a_write_that_failed(folder, monkeypatch):
    log = TrialLog(folder)
    log.add_evaluation(row(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(BadLogs):
            log.add_evaluation(row(2))
    assert read_back(folder).columns["global_step"].tolist() == [1]


def test_the_names_of_scalars_fit_into_a_file(folder):
    log = TrialLog(folder)
    log.start(TrialMeta(), {}, None)
    log.append_scalar_metrics({"loss\udc80": 1.0}, 1)
    log.flush_scalars()
    assert "loss\\udc80" in (folder / "measurements.csv").read_text()
    with pytest.raises(ValueError, match="has 1000 characters"):
        log.append_scalar_metrics({"x" * 1000: 1.0}, 1)
