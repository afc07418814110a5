"""Loggers and observers: what the logs say, from outside of the trial, which stays valid."""

import importlib
import importlib.util
import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algoperf import logs
from algoperf.campaign import single
from algoperf.errors import BadSettings, MissingDependency
from algoperf.logs import STEP, Outcome
from algoperf.outcome import OutcomeRecord
from algoperf.runner import experiment, loggers
from algoperf.runner.supervision.preemption import Preempted
from algoperf.runner.trial_observers import TrialObserver

LOGS_SCALARS = """
if global_step % 2 == 0:
    workload.metrics_logger.append_scalar_metrics({"error": 0.5}, global_step)
"""


def needs(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"needs {package}"
    )


@pytest.fixture
def short(toy_in_processes, written):
    """Settings of a trial of five steps, evaluated after 1, 3 and 5."""
    return lambda **changes: toy_in_processes(
        **{
            "submission_path": written(LOGS_SCALARS),
            "workload": "blobs_never",
            "num_trials": 1,
            "max_global_steps": 5,
            "eval_period_steps": 2,
            **changes,
        }
    )


class Witness(TrialObserver):
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def on_start(self, trial):
        self.told.append(("start", trial.workload, trial.is_resumed))

    def on_evaluation(self, row):
        self.told.append(("row", row.step))

    def on_scalars(self, scalars, step):
        self.told.append(("scalars", step, dict(scalars)))

    def on_end(self, record):
        self.told.append(("end", record and record.outcome))


def test_an_observer_is_told_of_every_row_scalar_and_end(short):
    witness = Witness()
    assert single.run([short()], lambda text: None, observers=[witness])
    rows = [what for what in witness.told if what[0] == "row"]
    scalars = [what for what in witness.told if what[0] == "scalars"]
    assert witness.told[0] == ("start", "blobs_never", False)
    assert rows == [("row", 1), ("row", 3), ("row", 5)]
    assert scalars == [("scalars", step, {"error": 0.5}) for step in (0, 2, 4)]
    assert witness.told[-1] == ("end", Outcome.NOT_REACHED)


class Fails(TrialObserver):
    def on_evaluation(self, row):
        raise ZeroDivisionError("no")


def test_an_observer_that_fails_is_dropped_and_ends_no_trial(short, capfd):
    witness = Witness()
    assert single.run([short()], lambda text: None, observers=[Fails(), witness])
    assert witness.told[-1] == ("end", Outcome.NOT_REACHED)
    assert capfd.readouterr().err.count("Fails has failed and is told no more") == 1


class Refuses(Witness):
    def on_start(self, trial):
        raise BadSettings("log in first")


def test_an_observer_may_refuse_before_the_trial_begins(short):
    first, settings = Witness(), short()
    with pytest.raises(BadSettings, match="log in first"):
        single.run([settings], lambda text: None, observers=[first, Refuses()])
    assert first.told[-1] == ("end", None)
    assert not settings.experiment_dir.exists()


class IsStopped(TrialObserver):
    """SIGTERM comes while it starts, as a slow login may see it."""

    def on_start(self, trial):
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_while_a_logger_starts_stops_the_run(short):
    settings = short(num_trials=2, max_global_steps=10**6)
    with pytest.raises(Preempted):
        single.run([settings], lambda text: None, observers=[IsStopped()])


def read_events(folder: Path) -> list:
    """All events of a folder, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = folder.iterdir()
    first, *events = EventFileLoader(str(path)).Load()
    assert first.file_version == "brain.Event:2"
    return events


def scalars_of(folder: Path) -> dict[tuple[str, int], float]:
    """Values by tag and step."""
    return {
        (value.tag, event.step): value.tensor.float_val[0]
        for event in read_events(folder)
        for value in event.summary.value
    }


@needs("tensorboard")
def test_tensorboard_shows_every_row_and_scalar(short):
    settings = short(log_to=("tensorboard",))
    assert single.run([settings], lambda text: None)
    (trial,) = logs.read(settings.experiment_dir)
    found = scalars_of(trial.folder / "tensorboard")
    for tag in ("validation/loss", "test/loss", "accumulated_submission_time"):
        assert [found[(tag, step)] for step in (1, 3, 5)] == pytest.approx(
            trial.metric(tag).tolist(),
            rel=1e-6,  # events hold float32
        )
    assert [found[("error", step)] for step in (0, 2, 4)] == [0.5] * 3
    assert all(tag != STEP for tag, _ in found)


@needs("tensorboard")
def test_a_resumed_trial_has_every_row_once(short):
    settings = short(log_to=("tensorboard",))
    assert single.run([settings], lambda text: None)
    (trial,) = logs.read(settings.experiment_dir)
    record = OutcomeRecord(Outcome.PREEMPTED)
    logs.write_outcome(trial.folder, record)  # as if it had been stopped at its end
    again = short(log_to=("tensorboard",), on_existing="resume", max_global_steps=7)
    assert single.run([again], lambda text: None)
    rows = [
        event.step
        for event in read_events(trial.folder / "tensorboard")
        if any(value.tag == "validation/loss" for value in event.summary.value)
    ]
    assert rows == [1, 3, 5, 7]


@needs("tensorboard")
def test_a_trial_in_this_process_is_logged_when_it_has_ended(short):
    settings = short(log_to=("tensorboard",), isolate=False)
    before, threads = dict(os.environ), threading.active_count()
    assert experiment.run(settings, lambda text: None)
    (trial,) = logs.read(settings.experiment_dir)
    assert scalars_of(trial.folder / "tensorboard")[("error", 4)] == 0.5
    assert (dict(os.environ), threading.active_count()) == (before, threads)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the packages' own
@needs("wandb")
def test_wandb_offline_has_the_rows_and_the_outcome(short, tmp_path, monkeypatch):
    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path))):
        monkeypatch.setenv(f"WANDB_{name}", value)
    settings = short(log_to=("wandb",))
    assert single.run([settings], lambda text: None)
    (trial,) = logs.read(settings.experiment_dir)
    assert trial.outcome is Outcome.NOT_REACHED
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    history, summary, config = read_wandb(path)
    steps = [row["global_step"] for row in history if "validation/loss" in row]
    assert steps == [1, 3, 5]
    found = [row["validation/loss"] for row in history if "validation/loss" in row]
    assert found == pytest.approx(trial.metric("validation/loss").tolist())
    assert [row["global_step"] for row in history if "error" in row] == [0, 2, 4]
    assert summary["outcome"] == "not reached"
    assert config["settings"]["workload"] == "blobs_never"


def read_wandb(path: Path) -> tuple[list[dict], dict, dict]:
    """History, summary and configuration of an offline run."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    history, summary, config = [], {}, {}
    for data in records_of(path.read_bytes()):
        record = messages.Record.FromString(data)
        if record.HasField("history"):
            history.append(members(record.history.item))
        summary |= members(record.summary.update)
        config |= members([*record.config.update, *record.run.config.update])
    return history, summary, config


def records_of(data: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, after W&B's header of 7 bytes."""
    whole, place = b"", 7
    while len(data) - place >= 7:
        left_in_block = 32_768 - place % 32_768
        if left_in_block < 7:
            place += left_in_block
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        place += 7 + length
        whole += data[place - length : place]
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def members(items) -> dict:
    return {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for item in items
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the packages' own
@needs("mlflow")
def test_mlflow_has_the_rows_the_point_and_the_outcome(short, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    settings = short(log_to=("mlflow",))
    assert single.run([settings], lambda text: None)
    (trial,) = logs.read(settings.experiment_dir)
    assert trial.outcome is Outcome.NOT_REACHED
    client = mlflow.MlflowClient()
    experiment_id = client.get_experiment_by_name("algoperf").experiment_id
    (run,) = client.search_runs([experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == "not reached"
    metrics = client.get_metric_history(run.info.run_id, "validation/loss")
    assert [metric.step for metric in metrics] == [1, 3, 5]
    assert [metric.value for metric in metrics] == pytest.approx(
        trial.metric("validation/loss").tolist()
    )
    scalars = client.get_metric_history(run.info.run_id, "error")
    assert [metric.step for metric in scalars] == [0, 2, 4]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependency, match=r"pip install 'algoperf\[wandb\]'"):
        loggers.check(["wandb"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wandbb", "Did you mean 'wandb'?"),
        ("no_such_module:make", "cannot be imported"),
        ("algoperf.errors:nothing", "has no function or class 'nothing'"),
        (":make", "cannot be imported"),
    ],
)
def test_a_name_that_is_no_logger_is_refused(name, said):
    with pytest.raises(BadSettings, match="--log-to") as caught:
        loggers.check([name])
    assert said in str(caught.value)


def test_an_observer_of_the_users_is_made_by_name(tmp_path, monkeypatch):
    (tmp_path / "my_observer.py").write_text(
        "from algoperf.runner.trial_observers import TrialObserver\n"
        "class Mine(TrialObserver):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (made,) = loggers.make(["my_observer:Mine"])
    assert type(made).__name__ == "Mine"
