"""What a launcher reads from the board of its trial."""

import time

from algoperf.runner.clock import Clock, Phase
from algoperf.runner.supervision.heartbeat import Board, read_sign


def test_a_board_that_nobody_has_written_says_nothing(tmp_path):
    for path in (tmp_path / "none", tmp_path / "empty"):
        sign = read_sign(path)
        assert sign.phase is None
        assert sign.silent_seconds == sign.submission_seconds == 0
        (tmp_path / "empty").touch()


def test_the_running_phase_and_the_submissions_seconds_are_seen_from_outside(tmp_path):
    board = Board(tmp_path / "board")
    clock = Clock(board=board.numbers)
    board.beat(step=7, budget=1e-9, quiet_limit=60)
    with clock.submission():
        time.sleep(0.01)
        sign = read_sign(tmp_path / "board")
    assert sign.phase is Phase.SUBMISSION and sign.step == 7
    assert sign.submission_seconds >= 0.01
    assert sign.is_over_budget(by=0.005) and not sign.is_over_budget(by=1_000)
    with clock.evaluation():
        sign = read_sign(tmp_path / "board")
    assert sign.phase is Phase.EVALUATION
    assert sign.submission_seconds == clock.submission_seconds
    assert not sign.is_over_budget(by=0.0)


def test_silence_counts_from_the_last_beat(tmp_path):
    board = Board(tmp_path / "board")
    board.beat(step=0, budget=10, quiet_limit=1_800)
    time.sleep(0.01)
    sign = read_sign(tmp_path / "board")
    assert 0.01 <= sign.silent_seconds < 100
    assert sign.quiet_limit == 1_800
