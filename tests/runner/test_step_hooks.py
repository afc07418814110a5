"""Looking at training steps: off the clock, without changing what a run computes."""

import dataclasses

import numpy as np
import pytest
from test_trial import Harness

from algoperf.runner.checkpoints import files
from algoperf.runner.clock import Phase
from algoperf.runner.trial import Trial


class Recorder:
    """A hook that takes its time, and adds up what it has seen."""

    def __init__(self, fake_time=None, steps=lambda step: True):
        self.time = fake_time
        self.steps = steps
        self.calls = []
        self.total = np.zeros(())
        self.is_closed = False

    def wants(self, step):
        return self.steps(step)

    def before_step(self, view):
        self._see("before", view)

    def after_step(self, view):
        self._see("after", view)

    def _see(self, when, view):
        self.calls.append((when, view.step))
        self.total = self.total + np.asarray(view.key).sum()
        if self.time is not None:
            self.time.advance(100.0)

    def state(self):
        return {"total": self.total}

    def restore(self, state):
        self.total = state["total"]

    def close(self):
        self.is_closed = True


@pytest.fixture
def harness(fake_time, tmp_path):
    return lambda **changes: Harness(fake_time, tmp_path, **changes)


def test_a_hook_is_not_on_the_submissions_clock(harness, fake_time):
    hook = Recorder(fake_time, steps=lambda step: step in (0, 2))
    h = harness(max_global_steps=3, step_hook=hook)
    h.run()
    assert h.parts.clock.submission_seconds == 3
    assert h.parts.clock.seconds(Phase.INSTRUMENTS) == 4 * 100
    assert hook.calls == [("before", 0), ("after", 0), ("before", 2), ("after", 2)]
    assert hook.is_closed


def test_what_the_submission_enqueued_is_awaited_on_its_own_clock(harness, fake_time):
    import toy_backend

    def enqueue(current_param_container, **kwargs):
        toy_backend.DEVICE.enqueue(lambda: fake_time.advance(50))
        return {}, current_param_container, None

    h = harness(max_global_steps=1, update_params=enqueue, step_hook=Recorder())
    h.run()
    assert h.parts.clock.submission_seconds == 50
    assert h.parts.clock.seconds(Phase.INSTRUMENTS) == 0


def test_a_step_that_raises_is_not_seen_after(harness):
    def ends(**kwargs):
        from algoperf import spec

        raise spec.TrainingCompleteError

    hook = Recorder()
    h = harness(update_params=ends, step_hook=hook)
    h.run()
    assert hook.calls == [("before", 0)]


def test_a_resumed_trial_goes_on_with_the_state_of_its_hook(harness):
    first = Recorder()
    h = harness(max_global_steps=2, save_checkpoints=True, step_hook=first)
    h.run()
    saved = files.load_latest(h.folder / files.FOLDER, {}, pytest.fail)
    second = Recorder()
    parts = dataclasses.replace(h.parts, max_global_steps=3, step_hook=second)
    Trial(parts).run(saved)
    assert second.calls == [("before", 2), ("after", 2)]
    whole = Recorder()
    harness(max_global_steps=3, step_hook=whole).run()
    assert second.total == whole.total


@pytest.mark.parametrize("before", [None, Recorder()])
@pytest.mark.parametrize("after", [None, Recorder()])
def test_a_run_may_be_resumed_with_or_without_a_hook(harness, before, after):
    h = harness(max_global_steps=1, save_checkpoints=True, step_hook=before)
    h.run()
    saved = files.load_latest(h.folder / files.FOLDER, {}, pytest.fail)
    parts = dataclasses.replace(h.parts, max_global_steps=2, step_hook=after)
    trial = Trial(parts)
    trial.run(saved)
    assert trial.state.global_step == 2
