"""The Crowded Valley protocol: what is run, with which seeds, what later stages see."""

import json
import math
import sys
from dataclasses import replace

import pytest

from algoperf import cli, logs
from algoperf.campaign import crowded_valley, shared
from algoperf.campaign import crowded_valley_points as points
from algoperf.campaign.crowded_valley import Protocol, Stages
from algoperf.errors import BadSettings
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.scoring.protocols.crowded_valley import cells
from algoperf.trial_meta import TrialMeta

EPOCHS = 100  # of quadratic_deep


def record(plan, validation: float, test: float, outcome=Outcome.NOT_REACHED) -> None:
    """Logs of a whole run that goes straight to its final losses."""
    log = logs.TrialLog(plan.folder, writes_at_end=True)
    log.start(TrialMeta(), {}, plan.point)
    number = 1 if outcome is Outcome.DIVERGED else EPOCHS
    for epoch in range(number + 1):
        share = epoch / number
        metrics = {
            "train/loss": 350 + (test - 352) * share,
            "validation/loss": 350 + (validation - 350) * share,
            "test/loss": 350 + (test - 350) * share,
        }
        log.add_evaluation(logs.EvaluationRow(epoch, epoch, 0, 0, 0, epoch, metrics))
    log.finish(OutcomeRecord(outcome, "as the test says"))


class Trainer:
    """Stands for training: validation prefers a rate of 0.05, the test one of 0.5."""

    def __init__(self) -> None:
        self.trained: list[tuple[str, str, int, int]] = []
        self.stops_after = math.inf

    def run(self, plans, jobs, say, *, is_stacked=False) -> shared.Report:
        for plan in shared.left(plans):
            if len(self.trained) >= self.stops_after:
                return shared.Report(is_stopped=True)
            stage = plan.settings.experiment_dir
            name = plan.settings.experiment_name
            where = f"{stage.parent.name}/{stage.name}"
            self.trained.append((where, name, plan.study, plan.trial))
            rate = math.log10(plan.point["learning_rate"])
            validation = 90 + 10 * abs(rate - math.log10(0.05)) + plan.study / 1000
            test = 90 + 10 * abs(rate - math.log10(0.5)) + plan.study / 1000
            if rate > 1:
                record(plan, math.nan, math.nan, Outcome.DIVERGED)
            else:
                record(plan, validation, test)
        return shared.Report()


@pytest.fixture
def trainer(monkeypatch) -> Trainer:
    made = Trainer()
    monkeypatch.setattr(shared, "run", made.run)
    return made


@pytest.fixture
def protocol(tmp_path) -> Protocol:
    return Protocol(
        ("sgd", "adam"), ("quadratic_deep",), tmp_path / "out", tmp_path, "pytorch"
    )


def run(protocol: Protocol):
    return crowded_valley.run(protocol, lambda text: None)


def test_the_slice_of_one_problem_has_660_runs(protocol):
    everyone = replace(protocol, optimizers=tuple(points.family().MEMBERS))
    assert everyone.most_runs == 660
    four = replace(everyone, problems=("a", "b", "c", "d"))
    assert four.most_runs == 2_640
    grid = replace(everyone, problems=tuple("abcdefgh"), budget="large")
    assert replace(grid, schedules=points.SCHEDULES).most_runs == 53_760


def test_defaults_have_all_seeds_and_samples_the_first_one(trainer, protocol):
    run(replace(protocol, optimizers=("adam",)))
    oneshot = [t for t in trainer.trained if t[0] == "constant/oneshot"]
    assert [t[2:] for t in oneshot] == [(seed, 1) for seed in range(42, 52)]
    tuned = [t[2:] for t in trainer.trained if t[0] == "constant/tuned"]
    assert tuned[:25] == [(42, sample + 1) for sample in range(25)]
    rates = [sample["learning_rate"] for sample in points.draws("adam", 25)]
    best = min(range(25), key=lambda i: abs(math.log10(rates[i] / 0.05)))
    assert tuned[25:] == [(seed, best + 1) for seed in range(43, 52)]


def test_a_setting_is_chosen_by_its_validation_value_and_reported_by_its_test_value(
    trainer, protocol
):
    found = run(protocol)
    grid = cells.grid_of(found.runs)
    cell = grid.cell("quadratic_deep", "sgd", "small")
    rate = cell.chosen.runs[0].point["learning_rate"]
    rates = [sample["learning_rate"] for sample in points.draws("sgd", 25)]
    assert rate == min(rates, key=lambda r: abs(math.log10(r / 0.05)))
    assert len(cell.chosen.runs) == 10
    test = 90 + 10 * abs(math.log10(rate / 0.5))
    assert cell.mean == pytest.approx(test + sum(range(42, 52)) / 10_000)


def test_all_optimizers_and_points_of_a_seed_start_alike(protocol):
    stages = Stages(protocol)
    plans = [*stages.oneshot(), *stages.tuning(25)]
    seeds = {(plan.study, plan.seed) for plan in plans}
    assert len(seeds) == 10
    assert len({seed for _, seed in seeds}) == 10


def test_given_again_only_what_is_missing_is_run(trainer, protocol):
    protocol = replace(protocol, num_seeds=3)
    trainer.stops_after = 13
    assert run(protocol).is_stopped
    trainer.stops_after = math.inf
    found = run(protocol)
    assert not found.is_stopped
    assert len(trainer.trained) == len(set(trainer.trained)) == protocol.most_runs
    before = len(trainer.trained)
    run(protocol)
    assert len(trainer.trained) == before
    run(replace(protocol, budget="medium"))
    assert {t[0] for t in trainer.trained[before:]} == {"constant/tuned"}
    assert {t[3] for t in trainer.trained[before : before + 50]} == set(range(26, 51))


def test_the_large_budget_draws_from_the_ranges_of_the_best_medium_settings(
    trainer, protocol
):
    found = run(replace(protocol, optimizers=("sgd",), budget="large", num_best=5))
    medium = [sample["learning_rate"] for sample in points.draws("sgd", 50)]
    best = sorted(medium, key=lambda r: abs(math.log10(r / 0.05)))[:5]
    grid = cells.grid_of(found.runs)
    sizes = {
        b: len(grid.cell("quadratic_deep", "sgd", b).settings) for b in cells.BUDGETS
    }
    assert sizes == {"oneshot": 1, "small": 25, "medium": 50, "large": 75}
    every = grid.cell("quadratic_deep", "sgd", "large").settings
    drawn = {s.learning_rate for s in every} - set(medium)
    assert len(drawn) == 25
    assert min(best) <= min(drawn) < max(drawn) <= max(best)


def test_schedules_are_cells_of_their_own(trainer, protocol):
    found = run(replace(protocol, schedules=("constant", "ltr"), num_seeds=2))
    grid = cells.grid_of(found.runs)
    assert grid.schedules == ["constant", "ltr"]
    assert len(trainer.trained) == 2 * 2 * (2 + 25 + 1)
    (plan, *_) = Stages(replace(protocol, schedules=("ltr",))).oneshot()
    assert plan.point["schedule"] == "ltr"
    assert plan.point["num_epochs"] == EPOCHS
    assert plan.point["schedule_form"] == "faithful"


def test_diverged_runs_are_never_chosen(trainer, protocol, monkeypatch):
    monkeypatch.setattr(
        points,
        "draws",
        lambda name, number, seed=42: [
            {"learning_rate": 100.0 if i % 2 else 1e-4 * (i + 1)} for i in range(number)
        ],
    )
    found = run(replace(protocol, optimizers=("sgd",)))
    cell = cells.grid_of(found.runs).cell("quadratic_deep", "sgd", "small")
    assert cell.chosen.learning_rate < 1
    assert sum(s.runs[0].has_diverged for s in cell.settings) == 1  # one point


def test_the_seed_study_and_the_second_tuning_have_their_own_runs(trainer, protocol):
    wanted = replace(protocol, has_seed_study=True, has_retuning=True, num_seeds=2)
    found = run(wanted)
    assert len(trainer.trained) == wanted.most_runs
    studies = {study: [] for study in (cells.MAIN, cells.RETUNING, cells.SEEDS)}
    for item in found.runs:
        studies[item.study].append(item.run)
    assert len(studies[cells.SEEDS]) == 36 * 2
    assert {r.seed for r in studies[cells.RETUNING]} == {100, 101}
    assert {r.optimizer for r in studies[cells.RETUNING]} == {"rmsprop", "adadelta"}
    rates = {
        r.learning_rate for r in studies[cells.RETUNING] if r.optimizer == "rmsprop"
    }
    again = {s["learning_rate"] for s in points.draws("rmsprop", 25, 100)}
    assert rates == again | {1e-3}


def test_other_options_in_the_same_folder_are_refused(trainer, protocol):
    run(replace(protocol, schedules=("ltr",)))
    other = replace(protocol, schedules=("ltr",), form="clean")
    with pytest.raises(BadSettings, match="other hyperparameters"):
        crowded_valley.check(other, lambda text: None)


@pytest.fixture
def command(capsys, tmp_path):
    """Runs the command: status, output, errors."""

    def call(*words):
        arguments = ["protocol", "crowded-valley", "--folder", tmp_path / "out", *words]
        status = cli.main([str(word) for word in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_the_command_runs_and_reports(trainer, command, tmp_path):
    status, out, err = command("--problems", "P1", "--optimizers", "sgd", "adam", "nag")
    assert status == 0, err
    assert "at most 132 runs" in out
    assert "Ranks: small budget, schedule constant" in out
    folder = tmp_path / "out/report"
    assert (folder / "report.html").exists()
    assert len(list((folder / "figures").glob("*.svg"))) >= 7
    trainer.trained.clear()
    assert command("--problems", "p1", "--optimizers", "sgd", "adam", "nag")[0] == 0
    assert trainer.trained == []


def test_a_stopped_command_says_how_to_go_on(trainer, command):
    trainer.stops_after = 3
    status, out, _ = command("--problems", "P1", "--optimizers", "sgd")
    assert status == 75
    assert "Give the same command again" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to do"),
        (["--problems", "P9"], "there is no problem 'P9'"),
        (["--problems", "quadratic_dep"], "Did you mean 'quadratic_deep'"),
        (["--problems", "P1", "--optimizers", "adamm"], "Did you mean 'adam'"),
        (["--problems", "P1", "--budget", "huge"], "huge"),
        (["--problems", "P1", "--schedules", "linear"], "linear"),
        (["--problems", "P1", "--seeds", "0"], "--seeds"),
        (["--problems", "P1", "--first-seed", "-3"], "--first-seed"),
        (["--problems", "P1", "--best", "0"], "--best"),
        (["--problems", "P1", "--jobs", "x"], "--jobs"),
        (["--problems", "P3"], "fashion_mnist is not prepared"),
        (["--read", "no_such_folder"], "no_such_folder"),
        (["--problems", "P1", "--folder", __file__], "--folder"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    trainer, command, words, message, tmp_path
):
    status, _, err = command(*words, "--data-dir", tmp_path / "no_data")
    assert status == 2
    assert message in err
    assert trainer.trained == []


WORKER = """
import json, sys
from pathlib import Path
for number, line in enumerate(sys.stdin):
    if number == {crash}:
        sys.exit("algoperf: the disk is full")
    plan = json.loads(line)
    s = plan["settings"]
    folder = Path(s["experiment_dir"], s["experiment_name"], f"study_{{plan['study']}}")
    folder = folder / f"{{s['workload']}}_{{s['framework']}}" / f"trial_{{plan['trial']}}"
    folder.mkdir(parents=True)
    (folder / "hparams.json").write_text(json.dumps(plan["point"]))
    (folder / "outcome.json").write_text('{{"outcome": "not reached"}}')
    print(folder, flush=True)
"""


@pytest.fixture
def worker(monkeypatch):
    """Lets processes log a trial for every plan that they are given, or end before one."""

    def use(crash: int = -1) -> None:
        code = WORKER.format(crash=crash)
        monkeypatch.setattr(shared, "COMMAND", (sys.executable, "-c", code))

    return use


def test_trials_are_dealt_out_to_processes(protocol, worker):
    worker()
    plans = Stages(protocol).oneshot()
    words = []
    report = shared.run(plans, 2, words.append)
    assert (report.num_done, report.problems, report.is_stopped) == (20, [], False)
    assert shared.left(plans) == []
    assert shared.run(plans, 2, words.append).num_done == 0


def test_a_process_that_dies_is_told_and_the_rest_is_left(protocol, worker):
    worker(crash=4)
    plans = Stages(protocol).oneshot()
    report = shared.run(plans, 1, lambda text: None)
    assert report.num_done == 4
    assert "exited with status 1: algoperf: the disk is full" in report.problems[0]
    assert len(shared.left(plans)) == 16


def test_a_damaged_list_of_hyperparameters_is_told(protocol):
    (plan, *_) = Stages(protocol).oneshot()
    record(plan, 90.0, 91.0)
    path = plan.folder / logs.HYPERPARAMETERS_FILE
    path.write_text(json.dumps({"learning_rate": 3}))
    with pytest.raises(BadSettings, match="choose another --folder"):
        shared.left([plan])


@pytest.mark.slow
def test_a_small_study_from_one_command(command):
    pytest.importorskip("torch")
    words = ("--problems", "P1", "--optimizers", "sgd", "--seeds", "2")
    status, out, err = command(*words, "--budget", "oneshot")
    assert status == 0, err
    assert "87." in out
