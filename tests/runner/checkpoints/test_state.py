"""What `TrialCheckpoints` writes, refuses and puts back, with the toy backend."""

import dataclasses
import threading
import time
import types

import numpy as np
import pytest
import toy_backend

from algoperf.errors import BadCheckpoint
from algoperf.logs import EvaluationRow, TrialLog
from algoperf.runner.checkpoints import files
from algoperf.runner.checkpoints.background import BackgroundWriter
from algoperf.runner.checkpoints.state import REFUSAL_FILE, TrialCheckpoints
from algoperf.runner.clock import Clock
from algoperf.runner.observers import Observers
from algoperf.runner.supervision.watchdog import Heartbeat
from algoperf.runner.trial_parts import TrialState


@pytest.fixture
def parts(tmp_path):
    return types.SimpleNamespace(
        backend=toy_backend.ToyBackend(),
        log=TrialLog(tmp_path),
        clock=Clock(),
        observers=Observers(),
        heartbeat=Heartbeat(),
        identity={},
        save_checkpoints=True,
        step_hook=None,
    )


def state_with(**optimizer_state):
    return TrialState({"w": 1.0}, None, optimizer_state, global_step=3)


def save(checkpoints, parts, state):
    checkpoints.save(state, position=3, data_wait_seconds=0.5)
    return files.load_latest(parts.log.folder / files.FOLDER, {}, pytest.fail)


def made_from_text(value):
    names = {}
    exec("def make(v):\n  def f():\n    return v\n  return f", names)
    return names["make"](value)


def test_a_state_whose_structure_changed_goes_on(parts):
    checkpoints = TrialCheckpoints(parts)
    checkpoints.started_with(state_with(kept=None))
    saved = save(checkpoints, parts, state_with(kept=[1.5], later={"n": 2}))
    state = state_with(kept=None)
    assert TrialCheckpoints(parts).restore(saved, state) == 0.5
    assert state.optimizer_state == {"kept": [1.5], "later": {"n": 2}}


def test_what_a_new_state_lacks_is_refused_at_the_first_checkpoint(parts, capsys):
    checkpoints = TrialCheckpoints(parts)
    checkpoints.started_with(state_with(rule=None))
    state = state_with(rule=made_from_text(3))
    assert save(checkpoints, parts, state) is None
    text = capsys.readouterr().err
    assert (
        "This trial cannot be resumed: 'optimizer_state/rule' is the function" in text
    )
    assert "init_optimizer_state" in text
    reason = (parts.log.folder / files.FOLDER / REFUSAL_FILE).read_text()
    assert "'optimizer_state/rule'" in reason


def test_another_function_in_the_same_place_is_refused_too(parts):
    def other():
        names = {}
        exec("def g():\n  return 1", names)
        return names["g"]

    checkpoints = TrialCheckpoints(parts)
    checkpoints.started_with(state_with(rule=other()))
    assert save(checkpoints, parts, state_with(rule=made_from_text(3))) is None


def test_what_a_new_state_has_as_well_is_saved(parts):
    checkpoints = TrialCheckpoints(parts)
    checkpoints.started_with(state_with(rule=made_from_text(0)))
    saved = save(checkpoints, parts, state_with(rule=made_from_text(3)))
    state = state_with(rule=made_from_text(0))
    TrialCheckpoints(parts).restore(saved, state)
    assert state.optimizer_state["rule"]() == 3


def test_a_state_that_cannot_be_saved_at_first_may_be_saved_later(parts):
    checkpoints = TrialCheckpoints(parts)
    checkpoints.started_with(state_with(now=iter([1])))
    assert save(checkpoints, parts, state_with(now=None)) is not None


def test_a_state_that_does_not_fit_is_refused_with_the_checkpoints_path(parts):
    saved = save(TrialCheckpoints(parts), parts, state_with(rule=made_from_text(3)))
    with pytest.raises(BadCheckpoint, match=rf"{saved.path}: 'optimizer_state/rule'"):
        TrialCheckpoints(parts).restore(saved, state_with())


@pytest.mark.parametrize("name", ["ranks", "evaluated_at", "data_wait", "eval_results"])
def test_a_checkpoint_that_lacks_something_is_refused_with_its_path(parts, name):
    saved = save(TrialCheckpoints(parts), parts, state_with())
    rest = {key: value for key, value in saved.rest.items() if key != name}
    with pytest.raises(BadCheckpoint, match=rf"{saved.path}: KeyError: '{name}'"):
        TrialCheckpoints(parts).restore(
            dataclasses.replace(saved, rest=rest), state_with()
        )


def test_rows_and_the_clocks_whole_account_are_in_a_checkpoint(parts):
    cells = {"global_step": 3, "accumulated_submission_time": 1, "validation/loss": 0.5}
    parts.log.add_evaluation(EvaluationRow.from_json(cells))
    account = {"submission": 2.0, "typical step": 0.25}
    parts.clock = types.SimpleNamespace(accounting=lambda: account)
    saved = save(TrialCheckpoints(parts), parts, state_with())
    assert saved.rest["seconds"] == account
    table = saved.rest["rows"]
    row = dict(zip(table["columns"], table["rows"][0], strict=True))
    assert (row["global_step"], row["validation/loss"]) == ("3", "0.5")


def test_a_trial_goes_on_while_its_copy_is_written(parts):
    writer, may_write = BackgroundWriter(), threading.Event()
    writer.start()
    writer.run(may_write.wait)  # as a slow disk
    checkpoints = TrialCheckpoints(parts, writer)
    state = state_with(kept=[1.5], weights=np.zeros(3))
    state.eval_results.append((3, {"loss": 0.5}))
    may_write.set()
    checkpoints.save(state, position=3, data_wait_seconds=0.5)
    state.optimizer_state["kept"].append(2.5)
    state.optimizer_state["weights"] += 1
    state.eval_results[0][1]["loss"] = 0.1
    state.eval_results.append((4, {}))
    checkpoints.finish()
    writer.close()
    saved = files.load_latest(parts.log.folder / files.FOLDER, {}, pytest.fail)
    restored = state_with(kept=[], weights=np.zeros(3))
    TrialCheckpoints(parts).restore(saved, restored)
    assert restored.optimizer_state["kept"] == [1.5]
    assert restored.optimizer_state["weights"].tolist() == [0, 0, 0]
    assert restored.eval_results == [(3, {"loss": 0.5})]


def test_a_copy_is_not_made_while_another_is_written(parts):
    writer, events = BackgroundWriter(), []
    writer.start()
    parts.backend.to_leaves = lambda tree: events.append("copy") or ({}, {})

    def write():
        time.sleep(0.05)
        events.append("written")

    checkpoints = TrialCheckpoints(parts, writer)
    for act in (
        lambda: checkpoints.save(state_with(), 0, 0.0),
        lambda: checkpoints.keep_evidence(3, {}, None),
    ):
        events.clear()
        writer.run(write)
        act()
        assert events == ["written", "copy"]
    writer.close()


def test_a_write_that_failed_in_the_background_is_told(parts):
    writer = BackgroundWriter()
    writer.start()
    checkpoints = TrialCheckpoints(parts, writer)
    (parts.log.folder / files.FOLDER).write_text("in the way")
    checkpoints.save(state_with(), 0, 0.0)
    with pytest.raises(BadCheckpoint, match="Could not write"):
        checkpoints.finish()
    writer.close()


def test_the_first_process_decides_whether_a_checkpoint_is_due(parts):
    checkpoints = TrialCheckpoints(parts)
    assert checkpoints.is_due()
    parts.backend.num_processes = 2
    parts.backend.processes = types.SimpleNamespace(broadcast=lambda own: not own)
    assert not checkpoints.is_due()
