"""The live view: what is in the folder now, however unfinished."""

import io
import json
import math
import os
from pathlib import Path

import pytest

from algoperf import cli
from algoperf.commands import watch
from algoperf.logs import EvaluationRow, Outcome, OutcomeRecord, TrialId, TrialLog
from algoperf.scoring.report.live import Progress, Watcher, screen
from algoperf.trial_meta import TrialMeta

META = {
    "target": {
        "metric": "accuracy",
        "better": "higher",
        "validation": 0.9,
        "test": 0.8,
    },
    "budget_seconds": 1000.0,
}


def folder_of(root: Path, submission: str = "a", number: int = 1) -> Path:
    folder = TrialId(submission, 1, "w", "jax", number).folder(root)
    folder.mkdir(parents=True)
    return folder


def started(folder: Path, *evaluations: tuple[float, float]) -> TrialLog:
    log = TrialLog(folder)
    log.start(TrialMeta.from_json(META), {}, None)
    for seconds, accuracy in evaluations:
        times = {"accumulated_submission_time": seconds, "score": seconds}
        cells = {"global_step": 10 * seconds, **times, "validation/accuracy": accuracy}
        log.add_evaluation(EvaluationRow.from_json(cells))
    return log


def look(root: Path, now: float = 0.0) -> Progress:
    (progress,) = Watcher(root).look(now)
    return progress


def test_a_running_trial_shows_its_step_best_value_and_budget(tmp_path):
    started(folder_of(tmp_path), (100, 0.7), (250, 0.6))
    progress = look(tmp_path)
    assert (progress.state, progress.step, progress.best) == ("running", 2500, 0.7)
    assert (progress.seconds, progress.budget_seconds) == (250, 1000)
    text = screen([progress])
    assert "accuracy > 0.9" in text and " 0.7 " in text and "[#....] 25%" in text
    assert "12.5 min" in text  # left


def test_a_trial_at_its_target_says_so(tmp_path):
    started(folder_of(tmp_path), (100, 0.95))
    assert look(tmp_path).reached
    assert " 0.95* " in screen([look(tmp_path)])


def test_an_ended_trial_shows_its_outcome(tmp_path):
    log = started(folder_of(tmp_path), (100, 0.95))
    log.finish(OutcomeRecord(Outcome.REACHED))
    progress = look(tmp_path)
    assert progress.state == "reached" and not progress.is_open


def test_a_trial_before_its_first_evaluation_is_starting(tmp_path):
    started(folder_of(tmp_path))
    assert look(tmp_path).state == "starting"
    assert "accuracy > 0.9" in screen([look(tmp_path)])


def test_an_empty_trial_folder_is_starting(tmp_path):
    folder_of(tmp_path)
    assert look(tmp_path).state == "starting"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("eval_measurements.csv", "global_step,accumulated_submission_time\n1,2"),
        ("eval_measurements.csv", ""),
        ("eval_measurements.csv", "global_step\nx\n"),
        ("meta_data_0.json", '{"target": {"met'),
        ("meta_data_0.json", '{"target": 3}'),
        ("outcome.json", "{}"),
        ("hparams.json", "\x00"),
    ],
)
def test_half_written_files_make_a_line_of_their_own(tmp_path, name, content):
    started(folder_of(tmp_path, number=1), (100, 0.5))
    folder = folder_of(tmp_path, number=2)
    started(folder, (100, 0.5))
    (folder / name).write_text(content)
    good, broken = Watcher(tmp_path).look(0.0)
    assert (good.state, broken.state) == ("running", "unreadable")
    assert str(folder) in screen([good, broken])


def test_a_changed_file_is_read_again(tmp_path):
    folder = folder_of(tmp_path)
    log = started(folder, (100, 0.5))
    watcher = Watcher(tmp_path)
    assert watcher.look(0.0)[0].best == 0.5
    log.add_evaluation(
        EvaluationRow.from_json(
            {
                "global_step": 2000,
                "accumulated_submission_time": 200,
                "score": 200,
                "validation/accuracy": 0.6,
            }
        )
    )
    assert watcher.look(0.0)[0].best == 0.6


def test_unchanged_trials_are_not_read_again(tmp_path, monkeypatch):
    started(folder_of(tmp_path), (100, 0.5))
    watcher = Watcher(tmp_path)
    first = watcher.look(0.0)
    monkeypatch.setattr("algoperf.logs.read_trial", None)
    assert watcher.look(0.0) == first


def test_it_shows_how_long_a_trial_has_been_silent(tmp_path):
    folder = folder_of(tmp_path)
    started(folder, (100, 0.5))
    for path in folder.iterdir():
        os.utime(path, (1000, 1000))
    progress = look(tmp_path, now=1042.0)
    assert progress.silent_seconds == 42
    assert "42.0 s" in screen([progress])


def test_published_logs_without_records_have_no_end_recorded(tmp_path):
    folder = folder_of(tmp_path)
    started(folder, (100, 0.5))
    (folder / "meta_data_0.json").unlink()
    progress = look(tmp_path)
    assert progress.state == "no end recorded" and not progress.is_open
    assert "no target known" in screen([progress])


def progress(number: int, state: str, silent: float = 0.0) -> Progress:
    identity = TrialId("a", 1, "w", "jax", number)
    return Progress(identity, state, silent_seconds=silent)


def test_running_trials_come_first_then_those_that_ended_last():
    text = screen(
        [progress(1, "reached", 50), progress(2, "running"), progress(3, "reached", 5)]
    )
    places = [text.index(f"1/{number}") for number in (2, 3, 1)]
    assert places == sorted(places)
    assert text.startswith("3 trials: 1 running, 2 reached")


def test_a_small_terminal_gets_what_fits():
    text = screen([progress(i, "reached", i) for i in range(50)], width=60, height=12)
    lines = text.splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 60
    assert lines[-1] == "... and 44 more"


def test_no_heading_is_left_without_its_trials():
    identities = [TrialId(name, 1, "w", "jax", 1) for name in "abcdef"]
    trials = [Progress(one, "reached", silent_seconds=1.0) for one in identities]
    for height in range(6, 30):
        lines = screen(trials, height=height).splitlines()
        heads = sum(", w (jax)" in line for line in lines)
        assert heads == sum(line.startswith("  1/1") for line in lines)
        assert len(lines) <= height


def test_names_cannot_drive_the_terminal():
    identity = TrialId("a\x1b[2J\nb", 1, "w\x07", "jax", 1)
    text = screen([Progress(identity, "running", best=math.nan)])
    assert "\x1b" not in text and "\x07" not in text and "a?[2J?b" in text


def test_once_prints_and_exits(tmp_path, capsys):
    started(folder_of(tmp_path), (100, 0.5))
    assert cli.main(["watch", str(tmp_path), "--once"]) == 0
    assert "1 trial: 1 stopped" in capsys.readouterr().out


def test_an_empty_folder_is_no_error(tmp_path, capsys):
    assert cli.main(["watch", str(tmp_path), "--once"]) == 0
    assert capsys.readouterr().out == "No trials yet.\n"


def test_a_missing_folder_is_wrong_input(tmp_path, capsys):
    assert cli.main(["watch", str(tmp_path / "no"), "--once"]) == 2
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ("0", "more than 0 seconds"),
        ("-1", "more than 0 seconds"),
        ("1e9", "at most a day"),
        ("nan", "not a finite number"),
        ("inf", "not a finite number"),
    ],
)
def test_an_interval_must_be_positive(tmp_path, capsys, interval, words):
    assert cli.main(["watch", str(tmp_path), "--interval", interval]) == 2
    assert words in capsys.readouterr().err


def test_frames_are_drawn_over_each_other_until_interrupted():
    frames = iter(["one\ntwo", "three"])
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    out = io.StringIO()
    watch.follow(lambda size: next(frames), 0.5, out, sleep=sleep)
    assert slept == [0.5, 0.5]
    text = out.getvalue()
    assert text.index("one") < text.index("two") < text.index("three")
    assert text.startswith("\x1b[?25l") and text.endswith("\x1b[?25h")
    assert "\x1b[1A" in text  # the second frame begins where the first one did


def test_the_cursor_comes_back_after_an_error():
    out = io.StringIO()
    with pytest.raises(ZeroDivisionError):
        watch.follow(lambda size: str(1 // 0), 1.0, out)
    assert out.getvalue().endswith("\x1b[?25h")


def test_the_states_are_json_for_programs(tmp_path, capsys):
    started(folder_of(tmp_path), (100, 0.5))
    folder_of(tmp_path, number=2)
    assert cli.main(["watch", str(tmp_path), "--json", "-"]) == 0
    first, second = json.loads(capsys.readouterr().out)["trials"]
    assert (first["state"], first["best"], first["trial"]) == ("stopped", 0.5, 1)
    assert (second["best"], second["metric"]) == (None, None)


def test_a_trial_whose_process_is_gone_is_stopped_and_says_how_to_go_on(tmp_path):
    from algoperf.runner.supervision.folder_lock import is_held, locked

    folder = folder_of(tmp_path)
    started(folder, (100, 0.5))
    watcher = Watcher(tmp_path, is_held)
    (gone,) = watcher.look(0.0)
    assert gone.state == "stopped"
    assert "1 stopped: resume with `algoperf run ... --resume`." in screen([gone])
    with locked(folder):
        assert watcher.look(0.0)[0].state == "running"


def test_what_to_know_about_a_trial_stands_below_it(tmp_path):
    log = started(folder_of(tmp_path), (100, 0.95))
    log.finish(OutcomeRecord(Outcome.REACHED, caveats=("waited for data",)))
    assert "      note: waited for data" in screen([look(tmp_path)]).splitlines()


def test_rows_of_trials_fit_into_80_columns():
    identity = TrialId("a" * 60, 100, "w" * 60, "jax", 100)
    facts = {
        "reached": True,
        "step": 1e6,
        "best": 0.123456,
        "seconds": 1e5,
        "budget_seconds": 1e5 + 1,
    }
    trials = [
        Progress(identity, state, silent_seconds=5_999, **facts)
        for state in ("running", "stopped", *(outcome.value for outcome in Outcome))
    ]
    rows = [row for row in screen(trials).splitlines() if row.startswith("  ")]
    assert len(rows) == len(trials) + 1 and max(map(len, rows)) <= 80
