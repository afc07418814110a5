"""What a trial claims is confirmed by a clean process, or what differs is told."""

import csv
import json
import shutil

import pytest

from algoperf import logs
from algoperf.cli import main
from algoperf.procedures import verification
from algoperf.runner import experiment
from algoperf.runner.checkpoints import evidence
from algoperf.verification_record import EVALUATIONS, TIMES, Status


@pytest.fixture
def trial(toy_in_processes):
    """A finished trial that has reached its targets; a new one on every call."""
    settings = toy_in_processes(max_global_steps=3, eval_period_steps=1, isolate=True)

    class Runs:
        """Calling it runs the trial; `again` reads its logs anew."""

        def __call__(self):
            assert experiment.run(settings, lambda text: None)
            return self.again()

        def again(self):
            (found,) = logs.read(settings.experiment_dir)
            return found

    return Runs()


def check(found, what):
    return next(c for c in found.checks if c.what == what)


def edit_rows(folder, change):
    path = folder / logs.EVALUATIONS_FILE
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_an_honest_trial_is_verified_and_a_forged_one_is_not(trial, capsys):
    run = trial()
    assert run.claims_target and len(evidence.kept(run.folder)) >= 1
    assert main(["verify", str(run.folder.parents[3])]) == 0
    assert "verified (" in capsys.readouterr().out
    known = trial.again()
    assert known.verification.status is Status.VERIFIED

    edit_rows(run.folder, lambda row: row.update({"validation/accuracy": "0.999"}))
    forged = trial.again()
    assert forged.verification is None  # the mark was of other rows
    found = verification.verify(forged)
    assert found.status is Status.DIFFERS
    assert "0.999 in the file" in check(found, EVALUATIONS).detail
    assert check(found, TIMES).status is Status.DIFFERS


def test_what_is_missing_cannot_be_verified(trial):
    run = trial()
    shutil.rmtree(run.folder / "evidence")
    shutil.rmtree(run.folder / "checkpoints")
    (run.folder / "stamps_0.json").unlink()
    found = verification.verify(run)
    assert found.status is Status.UNKNOWN
    assert "no parameters were kept" in found.reason and "stamps_0.json" in found.reason


def test_a_changed_seed_or_point_or_time_is_found(trial):
    run = trial()
    folder = run.folder
    (folder / "hparams.json").write_text('{"learning_rate": 0.123}')
    meta = json.loads((folder / "meta_data_0.json").read_text())
    edit_rows(
        folder,
        lambda row: row.update({"accumulated_submission_time": "0", "score": "0"}),
    )
    found = verification.verify(trial.again())
    assert "drawn again it is" in check(found, "seed and hyperparameters").detail
    assert "accumulated_submission_time" in check(found, TIMES).detail
    (folder / "meta_data_0.json").write_text(json.dumps({**meta, "seed": 5}))
    found = verification.verify(trial.again())
    assert "the seed is 5" in check(found, "seed and hyperparameters").detail


def test_a_trial_that_does_not_exist_is_named(trial, capsys):
    run = trial()
    assert main(["verify", str(run.folder.parents[3]), "--trial", "study_9"]) == 2
    assert "study_9" in capsys.readouterr().err
