"""DeepOBS's protocol as two campaigns: what is run, what is chosen, what is run again."""

import json
import math
import statistics
from pathlib import Path

import pytest

from algoperf import cli, logs
from algoperf.campaign import control, deepobs_points, stages
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.scoring.protocols.deepobs import experiments, folders, indicators
from algoperf.trial_meta import TrialMeta

HEAVY_BALL = (
    Path(__file__).parents[2] / "reference_algorithms/heavy_ball/submission_pytorch.py"
)
EPOCHS = 100  # of quadratic_deep


def row(step: int, loss: float) -> logs.EvaluationRow:
    metrics = {"train/loss": loss - 2, "test/loss": loss}
    return logs.EvaluationRow(step, float(step), 0.0, 0.0, 0.0, float(step), metrics)


def record(folder: Path, point, losses, outcome=Outcome.NOT_REACHED) -> None:
    """The logs of a trial with these test losses, before training and after each epoch."""
    log = logs.TrialLog(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log.start(TrialMeta(), {}, point)
    for epoch, loss in enumerate(losses):
        log.add_evaluation(row(7 * epoch, loss))
    seconds = {"total": 120.0, "submission": 60.0}
    log.finish(OutcomeRecord(outcome, "as the test says", seconds=seconds))


class Trainer:
    """Stands for the running of a campaign: a rate of 0.01 is the best, of 10 diverges."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.seeds: dict[str, set[int]] = {}
        self.crashes: set[float] = set()
        self.is_stopped = False

    def run(self, ledger, conditions, say) -> bool:
        for plan in ledger.left():
            if self.is_stopped:
                return False
            rate = plan.point["learning_rate"]
            stage = "tuning" if plan.folder.parents[3].name == "tuning" else "repeats"
            self.seeds.setdefault(stage, set()).add(plan.seed)
            self.trained.append(f"{stage} {plan.settings.experiment_name} {rate:g}")
            final = 90 + 10 * abs(math.log10(rate) + 2) - plan.study / 10
            losses = [350 + (final - 350) * i / EPOCHS for i in range(EPOCHS + 1)]
            outcome = Outcome.NOT_REACHED
            if rate >= 10:
                losses, outcome = [350, math.nan], Outcome.DIVERGED
            if rate in self.crashes:
                losses, outcome = [350], Outcome.SUBMISSION_CRASHED
            record(plan.folder, plan.point, losses, outcome)
        return True


@pytest.fixture
def trainer(monkeypatch) -> Trainer:
    made = Trainer()
    monkeypatch.setattr(control, "run", made.run)
    monkeypatch.setattr(stages, "check", lambda plan: [])
    return made


@pytest.fixture
def rates(tmp_path) -> Path:
    path = tmp_path / "grid.json"
    path.write_text("[0.1, 0.01, 10]")
    return path


@pytest.fixture
def protocol(capsys, tmp_path, rates):
    """Runs the command on quadratic_deep: status, output, errors."""

    def call(*more, optimizers=("sgd",), grid=rates, seeds=3):
        words = ["protocol", "deepobs", "--problems", "quadratic_deep"]
        words += ["--folder", tmp_path / "deepobs", "--grid", grid, "--seeds", seeds]
        if optimizers:
            words += ["--optimizers", *(f"{n}={HEAVY_BALL}" for n in optimizers)]
        status = cli.main([str(word) for word in (*words, *more)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_the_grid_is_the_published_one():
    found = [point["learning_rate"] for point in deepobs_points.points("36", {})]
    assert found == pytest.approx([10 ** (-5 + 0.2 * i) for i in range(36)])


def test_points_are_a_grid_on_top_of_a_base(rates):
    (first, *_) = deepobs_points.points(str(rates), {"beta": 0.9})
    assert first == {"beta": 0.9, "learning_rate": 0.1}
    rates.write_text('[{"learning_rate": 1, "beta": 0.5}]')
    (only,) = deepobs_points.points(str(rates), {"beta": 0.9, "gamma": 1})
    assert only == {"learning_rate": 1.0, "beta": 0.5, "gamma": 1}


def test_each_optimizer_may_have_a_list_of_its_own(rates):
    rates.write_text('{"sgd": [0.1, 1], "adam": [{"learning_rate": 0.001}]}')
    found = deepobs_points.points(str(rates), {"beta": 0.9}, optimizer="adam")
    assert found == [{"beta": 0.9, "learning_rate": 0.001}]
    with pytest.raises(BadSettings, match=r"no list for 'momentum'.*sgd, adam"):
        deepobs_points.points(str(rates), {}, optimizer="momentum")


def test_random_search_draws_from_the_grid_s_range_and_from_those_of_the_base():
    momentum = {"min": 0.5, "max": 1.0, "scaling": "linear"}
    base = {"momentum": momentum, "nesterov": {"feasible_points": [True, False]}}
    found = deepobs_points.points("random:300", {**base, "decay": 0.0})
    rates = [math.log10(point["learning_rate"]) for point in found]
    assert all(-5 <= rate <= 2 for rate in rates)
    # Evenly over seven decades: mean and deviation, within four standard errors.
    assert statistics.mean(rates) == pytest.approx(-1.5, abs=4 * 2.02 / 300**0.5)
    assert statistics.pstdev(rates) == pytest.approx(7 / 12**0.5, rel=0.15)
    assert all(0.5 <= point["momentum"] <= 1 for point in found)
    assert {point["nesterov"] for point in found} == {True, False}
    assert {point["decay"] for point in found} == {0.0}


def test_random_points_depend_on_the_seed_and_the_optimizer_and_grow():
    def draw(grid="random:5", **more):
        points = deepobs_points.points(grid, {}, **more)
        return [point["learning_rate"] for point in points]

    assert draw() == draw()
    assert draw("random:9")[:5] == draw()
    assert draw(seed=1) != draw()
    assert draw(optimizer="adam") != draw()


@pytest.mark.parametrize("grid", ["5", "file"])
def test_ranges_without_random_search_are_refused(rates, grid):
    base = {"beta": {"min": 0.5, "max": 1.0, "scaling": "linear"}}
    with pytest.raises(BadSettings, match="random:N"):
        deepobs_points.points(str(rates) if grid == "file" else grid, base)


def test_a_range_that_is_none_is_named():
    with pytest.raises(AlgoPerfError, match="'beta' lacks max"):
        deepobs_points.points("random:5", {"beta": {"min": 1, "scaling": "log"}})


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "[", '["a"]', "[true]", "[NaN]", "[-1]", "[null]", "[1, 1.0]", "[[1]]"]
    + ['[{"rate": 1}]', '[{"learning_rate": 1e999}]', f"[{10**400}]"],
)
def test_a_grid_that_is_no_list_of_rates_is_refused(rates, text):
    rates.write_text(text)
    with pytest.raises(BadSettings, match=r"grid\.json"):
        deepobs_points.points(str(rates), {})


@pytest.mark.parametrize(
    "grid",
    [
        "0",
        "1",
        "10001",
        "9" * 30,
        "no_such_file.json",
        "random:",
        "random:1",
        "random:x",
    ],
)
def test_a_grid_of_no_sensible_size_is_refused(grid):
    with pytest.raises(BadSettings):
        deepobs_points.points(grid, {})


def test_the_grid_is_tried_once_and_the_best_point_with_every_seed(trainer, protocol):
    status, out, _ = protocol()
    assert status == 0
    tried, repeated = trainer.trained[:3], trainer.trained[3:]
    assert sorted(tried) == ["tuning sgd 0.01", "tuning sgd 0.1", "tuning sgd 10"]
    assert repeated == ["repeats sgd 0.01"] * 3
    assert "89.80 ± 0.10" in out  # of studies 1 to 3: not of the run that was selected
    assert "6 runs" in out


def test_no_repeat_is_the_run_that_was_chosen_over_again(trainer, protocol):
    protocol(grid=2)
    assert [len(trainer.seeds[stage]) for stage in ("tuning", "repeats")] == [2, 3]
    assert not trainer.seeds["tuning"] & trainer.seeds["repeats"]


def test_the_search_tells_how_long_the_repeats_may_take(trainer, protocol):
    _, out, _ = protocol()
    assert "3 repeats; by the runs of the search they take about 6.0 min in all" in out
    _, out, _ = protocol("--jobs", "2")
    assert "about 3.0 min in all" in out


def test_given_again_only_what_is_missing_is_run(trainer, protocol):
    protocol()
    trainer.trained.clear()
    assert protocol()[0] == 0
    assert trainer.trained == []
    assert protocol(seeds=5)[0] == 0
    assert trainer.trained == ["repeats sgd 0.01"] * 2
    trainer.trained.clear()
    assert protocol(seeds=5, optimizers=("sgd", "momentum"))[0] == 0
    assert {words.split()[1] for words in trainer.trained} == {"momentum"}


def test_a_stopped_protocol_goes_on(trainer, protocol):
    trainer.is_stopped = True
    status, out, _ = protocol()
    assert status == 75
    assert "Give the same command again" in out
    trainer.is_stopped = False
    assert protocol()[0] == 0
    assert len(trainer.trained) == 6


def test_another_grid_in_the_same_folder_is_refused(trainer, protocol, rates):
    protocol()
    trainer.trained.clear()
    rates.write_text("[0.1, 0.02]")
    status, _, err = protocol()
    assert status == 2
    assert "Choose another --folder" in err
    assert trainer.trained == []


def test_a_grid_that_nothing_ran_with_can_be_replaced(trainer, protocol, rates):
    trainer.is_stopped = True
    protocol()
    rates.write_text("[0.1, 0.02]")
    trainer.is_stopped = False
    assert protocol()[0] == 0
    assert trainer.trained[-1] == "repeats sgd 0.02"


def test_points_that_become_one_with_the_base_are_refused(rates):
    rates.write_text('[{"learning_rate": 1, "beta": 0.9}, 1]')
    with pytest.raises(BadSettings, match="twice"):
        deepobs_points.points(str(rates), {"beta": 0.9})


def test_a_crash_fails_the_command_and_the_others_count(trainer, protocol):
    trainer.crashes = {0.01}
    status, out, _ = protocol()
    assert status == 1
    assert trainer.trained[-1] == "repeats sgd 0.1"
    assert "left out: sgd, quadratic_deep, study 1, trial" in out


def test_an_optimizer_without_a_complete_run_is_named(trainer, protocol):
    trainer.crashes = {0.01, 0.1, 10}
    status, out, _ = protocol()
    assert status == 1
    assert "sgd has no complete run on quadratic_deep" in out


def test_results_are_written_in_the_published_layout_and_stand_beside_others(
    trainer, protocol, tmp_path
):
    assert protocol("--write", tmp_path / "published")[0] == 0
    scan = folders.read(tmp_path / "published")
    assert scan.left_out == []
    assert len(scan.runs) == 2 + 3
    (result,) = indicators.results(scan.runs)
    assert [run.seed for run in result.chosen.runs] == [42, 43, 44]
    status, out, _ = protocol(
        "--read", tmp_path / "published", optimizers=("momentum",)
    )
    assert status == 0
    assert out.split("quantity")[1].split()[:2] == ["sgd", "momentum"]
    assert (tmp_path / "deepobs/report/performance.svg").exists()


def test_published_folders_are_reported_alone(trainer, protocol, tmp_path):
    protocol("--write", tmp_path / "published")
    trainer.trained.clear()
    status, out, _ = protocol("--read", tmp_path / "published", optimizers=())
    assert status == 0
    assert "89.80 ± 0.10" in out
    assert trainer.trained == []


def test_an_optimizer_that_stands_in_a_read_folder_is_refused_before_anything_runs(
    trainer, protocol, tmp_path
):
    protocol("--write", tmp_path / "published")
    trainer.trained.clear()
    status, _, err = protocol("--read", tmp_path / "published", seeds=9)
    assert status == 2
    assert "NAME=FILE" in err
    assert trainer.trained == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--problems", "mnist_mlq"], "Did you mean"),
        (["--problems", "mnist"], "there is no problem 'mnist'"),
        (["--problems", "smal"], "small"),
        (["--runtime", "2", "--runtime-problem", "small"], "--runtime-problem"),
        (["--runtime", "2", "--runtime-problem", "mnist"], "--runtime-problem"),
        (["--runtime", "2"], "compares optimizers with sgd"),
        (["--runtime", "0"], "--runtime"),
        (["--seeds", "0"], "--seeds"),
        (["--base", "no_such.json"], "no_such.json"),
        (["--grid", "2.5"], "a whole number, random:N, or a JSON file"),
        (["--folder", f"{__file__}/inside"], "is no folder"),
        (["--write", __file__], "--write"),
        (["--read", "no_such_folder"], "no_such_folder"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(trainer, capsys, words, message):
    command = ["protocol", "deepobs", "--optimizers", str(HEAVY_BALL), *words]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err
    assert trainer.trained == []


def test_without_anything_to_do_the_command_says_so(trainer, capsys):
    assert cli.main(["protocol", "deepobs"]) == 2
    assert "--optimizers" in capsys.readouterr().err


def test_a_base_for_other_names_is_refused(trainer, protocol, tmp_path):
    base = tmp_path / "base.json"
    base.write_text('{"adam": {"beta": 1}}')
    status, _, err = protocol("--base", base)
    assert status == 2
    assert "Name them as it does" in err
    base.write_text('{"sgd": 3}')
    assert "must be a JSON object" in protocol("--base", base)[2]


def test_the_base_is_part_of_every_point(trainer, protocol, tmp_path):
    base = tmp_path / "base.json"
    base.write_text('{"sgd": {"one_minus_beta1": 1.0}}')
    assert protocol("--base", base)[0] == 0
    points = json.loads((tmp_path / "deepobs/points/sgd.json").read_text())
    assert [point["one_minus_beta1"] for point in points] == [1.0] * 3


def trial(tmp_path, losses, outcome=Outcome.NOT_REACHED, workload="quadratic_deep"):
    identity = logs.TrialId("sgd", 4, workload, "jax", 1)
    folder = identity.folder(tmp_path)
    record(folder, {"learning_rate": 0.1}, losses, outcome)
    return logs.read_trial(identity, folder)


def test_a_trial_becomes_a_run_whose_seed_is_its_study(tmp_path):
    scan = experiments.runs_of([trial(tmp_path, range(EPOCHS + 1, 0, -1))])
    (run,) = scan.runs
    assert (run.seed, run.learning_rate, run.num_epochs) == (4, 0.1, EPOCHS)
    assert run.curves["test_losses"][-1] == 1
    assert run.curves["train_losses"][-1] == -1
    assert not run.has_diverged


def test_the_test_of_imagenet_is_in_the_columns_of_the_validation_split(tmp_path):
    identity = logs.TrialId("sgd", 1, "imagenet_vgg16", "jax", 1)
    log = logs.TrialLog(identity.folder(tmp_path))
    identity.folder(tmp_path).mkdir(parents=True)
    log.start(TrialMeta(), {}, {"learning_rate": 0.1})
    for epoch in range(EPOCHS + 1):
        metrics = {"train/loss": 6.0, "train/accuracy": 0.1}
        metrics |= {"validation/loss": 7.0 - epoch / 100, "validation/accuracy": 0.2}
        time = float(epoch)
        log.add_evaluation(logs.EvaluationRow(epoch, time, 0, 0, 0, time, metrics))
    log.finish(OutcomeRecord(Outcome.NOT_REACHED, "as the test says"))
    trial = logs.read_trial(identity, identity.folder(tmp_path))
    (run,) = experiments.runs_of([trial]).runs
    assert run.curves["test_losses"][-1] == 6
    assert run.curves["train_accuracies"][-1] == 0.1


def test_a_trial_that_diverged_holds_its_initial_values(tmp_path):
    found = trial(tmp_path, [350, 300, math.nan], Outcome.DIVERGED)
    (run,) = experiments.runs_of([found]).runs
    assert run.has_diverged
    assert run.curves["test_losses"][:3].tolist() == [350, 300, 350]
    assert run.curves["test_losses"][-1] == 350
    assert len(run.curves["test_losses"]) == EPOCHS + 1


@pytest.mark.parametrize(
    ("losses", "outcome", "workload", "words"),
    [
        ([3, 2], Outcome.NOT_REACHED, "quadratic_deep", "has 2 evaluations"),
        ([3] * 102, Outcome.NOT_REACHED, "quadratic_deep", "has 102 evaluations"),
        ([], Outcome.DIVERGED, "quadratic_deep", "has 0 evaluations"),
        ([3] * 101, Outcome.INVALID, "quadratic_deep", "counts for nothing"),
        ([3] * 101, Outcome.NOT_REACHED, "fmnist_2c2d", "no column test/accuracy"),
        ([3], Outcome.REACHED, "mnist", "not of a problem"),
        ([3], Outcome.REACHED, "unknown", "not of a problem"),
    ],
)
def test_a_trial_that_is_no_whole_run_is_left_out(
    tmp_path, losses, outcome, workload, words
):
    scan = experiments.runs_of([trial(tmp_path, losses, outcome, workload)])
    assert scan.runs == []
    assert words in scan.left_out[0]


@pytest.mark.slow
def test_sgd_on_the_quadratic_from_one_command(protocol, tmp_path):
    pytest.importorskip("torch")
    base = Path(__file__).parents[2] / "workloads/deepobs/baselines.json"
    status, out, err = protocol("--base", base, seeds=2)
    assert status == 0, err
    assert "1.00e-02" in out
    published = {"mean": 87.40, "std": 0.17}
    data = (tmp_path / "deepobs/report/curves/quadratic_deep__sgd.dat").read_text()
    header, first, *_, last = [line.split() for line in data.splitlines()]
    place = header.index("test_losses_mean")
    assert float(first[place]) == pytest.approx(353.4468, abs=1e-3)
    assert float(last[place]) == pytest.approx(published["mean"], abs=0.6)
