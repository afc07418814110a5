"""Reading folders of logs: what is accepted, and how errors name the place."""

from pathlib import Path

import numpy as np
import pytest

from algoperf import logs
from algoperf.errors import BadLogs
from algoperf.logs import Trial

HEADER = "global_step,accumulated_submission_time,score,validation/accuracy"
GOOD = HEADER + "\n1,2.5,2.5,0.1\n10,20.5,20.5,\n20,40.5,40.5,0.3\n"


def folder_of(tmp_path: Path, trial: int = 1) -> Path:
    folder = tmp_path / "adamw/study_1/mnist_jax" / f"trial_{trial}"
    folder.mkdir(parents=True)
    return folder


def read_one(tmp_path: Path, content: str | bytes) -> Trial:
    data = content.encode() if isinstance(content, str) else content
    (folder_of(tmp_path) / "eval_measurements.csv").write_bytes(data)
    return logs.read(tmp_path)[0]


def test_columns_are_numbers_and_empty_cells_nan(tmp_path: Path):
    trial = read_one(tmp_path, GOOD)
    np.testing.assert_array_equal(
        trial.metric("validation/accuracy"), [0.1, np.nan, 0.3]
    )
    assert trial.num_evaluations == 3


def test_a_metric_that_was_not_logged_is_nan(tmp_path: Path):
    assert np.isnan(read_one(tmp_path, GOOD).metric("test/accuracy")).all()


def test_order_of_rows_does_not_matter(tmp_path: Path):
    header, *rows = GOOD.splitlines(keepends=True)
    trial = read_one(tmp_path, header + "".join(reversed(rows)))
    assert trial.columns["global_step"].tolist() == [1, 10, 20]
    np.testing.assert_array_equal(
        trial.metric("validation/accuracy"), [0.1, np.nan, 0.3]
    )


@pytest.mark.parametrize(
    "content", [GOOD.replace("\n", "\r\n"), GOOD.replace("0.1", '"0.1"')]
)
def test_windows_line_ends_and_quotes_are_read(tmp_path: Path, content: str):
    assert read_one(tmp_path, content).metric("validation/accuracy")[0] == 0.1


def test_header_only_is_a_trial_without_evaluations(tmp_path: Path):
    assert read_one(tmp_path, HEADER + "\n").num_evaluations == 0


def test_a_trial_without_a_csv_has_no_evaluations(tmp_path: Path):
    folder_of(tmp_path)
    assert logs.read(tmp_path)[0].num_evaluations == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty"]),
        (GOOD[:-3], ["line 4", "truncated"]),
        (
            GOOD.replace("20.5,20.5,\n", "20.5\n"),
            ["line 3 has 2 cells", "header has 4"],
        ),
        (GOOD.replace("2.5,2.5", "2.5,2.5,7"), ["line 2 has 5 cells"]),
        (GOOD.replace("accumulated_submission_time", "time"), ["no column"]),
        (GOOD.replace("score", "global_step"), ["names a column twice"]),
        (GOOD.replace("40.5,40.5", "x,40.5"), ["line 4", "submission_time'", "'x'"]),
        (GOOD.replace("40.5,40.5", "4_0,40.5"), ["line 4", "'4_0' is not a number"]),
        (GOOD.replace("40.5,40.5", "nan,40.5"), ["line 4", "finite"]),
        (GOOD.replace("40.5,40.5", ",40.5"), ["line 4", "finite"]),
        (GOOD.replace("40.5,40.5", "-1,40.5"), ["line 4", "at least 0"]),
        (GOOD.replace("40.5,40.5", "10,10"), ["line 4", "time runs backwards"]),
        (GOOD.replace("40.5,40.5", "30.5,40.5"), ["line 4", "'score'", "30.5"]),
    ],
)
def test_damage_is_reported_with_file_and_place(
    tmp_path: Path, content: str, words: list[str]
):
    with pytest.raises(BadLogs) as caught:
        read_one(tmp_path, content)
    for word in ["eval_measurements.csv", *words]:
        assert word in str(caught.value)


def test_a_metric_that_is_no_number_is_reported_when_it_is_needed(tmp_path: Path):
    trial = read_one(tmp_path, GOOD.replace("0.3", "0.3%"))
    with pytest.raises(BadLogs, match=r"line 4, column 'validation/accuracy': '0.3%'"):
        trial.metric("validation/accuracy")


def test_bytes_that_are_no_text_are_reported(tmp_path: Path):
    with pytest.raises(BadLogs, match="UTF-8"):
        read_one(tmp_path, b"\xff" + GOOD.encode())


def test_two_trials_with_the_same_names_are_reported(tmp_path: Path):
    for top in ("a", "b"):
        folder = folder_of(tmp_path / top)
        (folder / "eval_measurements.csv").write_text(GOOD)
    with pytest.raises(BadLogs, match="both trial 1 of adamw"):
        logs.read(tmp_path)


def test_a_folder_without_trials_is_reported(tmp_path: Path):
    with pytest.raises(BadLogs, match="No trials under"):
        logs.read(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "\xff", "[" * 100_000])
def test_json_that_cannot_be_read_is_reported(tmp_path: Path, content: str):
    folder = folder_of(tmp_path)
    (folder / "outcome.json").write_text(content, encoding="latin-1")
    with pytest.raises(BadLogs, match=r"outcome\.json"):
        logs.read(tmp_path)


def test_the_last_part_of_a_preempted_trial_tells_its_meta_data(tmp_path: Path):
    folder = folder_of(tmp_path)
    for number in (0, 2, 10):
        (folder / f"meta_data_{number}.json").write_text(f'{{"part": {number}}}')
    (folder / "meta_data_copy.json").write_text("{}")
    assert logs.read(tmp_path)[0].meta.others == {"part": 10}
