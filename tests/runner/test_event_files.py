"""TensorBoard's event files: what the logs say, and a trial that stays valid."""

import importlib.util
import math
import os
import struct
import sys
import threading

import pytest

from algoperf import logs
from algoperf.errors import MissingDependency
from algoperf.logs import STEP, SUBMISSION_SECONDS, EvaluationRow, Outcome, TrialLog
from algoperf.runner import experiment
from algoperf.runner.event_files import EventFiles
from algoperf.trial_meta import TrialMeta

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("tensorboardX") is None, reason="needs tensorboardX"
)


def read_events(folder) -> list:
    """All events of a folder, through the checksums of the format."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    events = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
            body, data = data[12 : 12 + length], data[12 + length :]
            assert struct.unpack("<I", data[:4])[0] == masked_crc32c(body)
            events.append(Event.FromString(body))
            data = data[4:]
    assert events[0].file_version == "brain.Event:2"
    return events[1:]


def scalars(folder) -> dict[tuple[str, int], float]:
    """Values by tag and step."""
    return {
        (value.tag, event.step): value.simple_value
        for event in read_events(folder)
        for value in event.summary.value
    }


@needs_package
def test_evaluations_and_training_scalars_are_copied_as_they_come(tmp_path):
    log = TrialLog(tmp_path)
    log.start(TrialMeta(), {}, None)
    files = EventFiles(tmp_path)
    log.append_scalar_metrics({"loss": 2.5}, 1)
    log.add_evaluation(
        EvaluationRow.from_json(
            {SUBMISSION_SECONDS: 0.0, STEP: 1, "validation/accuracy": 0.25}
        )
    )
    files.update()
    found = scalars(tmp_path / "tensorboard")
    assert found[("validation/accuracy", 1)] == 0.25
    assert found[("loss", 1)] == 2.5
    log.append_scalar_metrics({"loss": math.nan, "norm": 3.0}, 2)
    log.add_evaluation(
        EvaluationRow.from_json(
            {SUBMISSION_SECONDS: 0.0, STEP: 3, "validation/accuracy": 0.5}
        )
    )
    files.close()
    found = scalars(tmp_path / "tensorboard")
    assert found[("validation/accuracy", 3)] == 0.5
    assert math.isnan(found[("loss", 2)]) and found[("norm", 2)] == 3.0
    assert ("norm", 1) not in found  # an empty cell
    assert all(tag != STEP for tag, _ in found)


@needs_package
def test_a_resumed_trial_has_every_row_once(tmp_path):
    log = TrialLog(tmp_path)
    log.start(TrialMeta(), {}, None)
    files = EventFiles(tmp_path)
    for step in (1, 2, 3):
        log.add_evaluation(
            EvaluationRow.from_json(
                {SUBMISSION_SECONDS: 0.0, STEP: step, "test/loss": step / 2}
            )
        )
        files.update()
    resumed = TrialLog(tmp_path, preemptions=1, keep_steps=2)
    resumed.start(TrialMeta(), {}, None)
    again = EventFiles(tmp_path)
    resumed.add_evaluation(
        EvaluationRow.from_json({SUBMISSION_SECONDS: 0.0, STEP: 3, "test/loss": 7.0})
    )
    again.close()
    steps = [event.step for event in read_events(tmp_path / "tensorboard")]
    assert steps == [1, 2, 3]
    assert scalars(tmp_path / "tensorboard")[("test/loss", 3)] == 7.0


@needs_package
def test_writing_starts_no_thread_and_sets_no_variable(tmp_path):
    before, threads = dict(os.environ), threading.active_count()
    EventFiles(tmp_path).close()
    assert dict(os.environ) == before
    assert threading.active_count() == threads


def test_a_missing_package_is_named_before_a_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingDependency, match=r"pip install 'algoperf\[report\]'"):
        EventFiles(tmp_path)
    assert list(tmp_path.iterdir()) == []


LOGS_SCALARS = """
if global_step % 2 == 0:
    workload.metrics_logger.append_scalar_metrics({"error": 0.5}, global_step)
"""


@needs_package
def test_a_trial_that_writes_event_files_is_valid(toy_in_processes, written):
    settings = toy_in_processes(
        submission_path=written(LOGS_SCALARS),
        workload="blobs_never",
        num_trials=1,
        max_global_steps=5,
        eval_period_steps=2,
        tensorboard=True,
    )
    said = []
    assert experiment.run(settings, said.append), said
    (trial,) = logs.read(settings.experiment_dir)
    assert trial.outcome is Outcome.NOT_REACHED
    found = scalars(trial.folder / "tensorboard")
    for tag in ("validation/loss", "test/loss", "accumulated_submission_time"):
        assert [found[(tag, step)] for step in (1, 3, 5)] == pytest.approx(
            trial.metric(tag).tolist(),
            rel=1e-6,  # events hold float32
        )
    assert [found[("error", step)] for step in (0, 2, 4)] == [0.5] * 3
