"""The Crowded Valley study: published logs with their quirks, cells, analyses, report."""

import itertools
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from algoperf.errors import BadLogs
from algoperf.scoring.protocols.crowded_valley import analyses, cells, published, report
from algoperf.scoring.protocols.crowded_valley.cells import ValleyRun
from algoperf.scoring.protocols.deepobs.runs import Run

EPOCHS = 100
START, SECOND_START = 353.4468, 347.358


def curve(final: float, start: float = START) -> list[float]:
    return np.linspace(start, final, EPOCHS + 1).tolist()


def write(folder: Path, final, *, seed=42, point=None, valid=None, **changes) -> Path:
    """A published file; the path has problem, class and setting above it."""
    point = {"learning_rate": 0.01} if point is None else point
    content = {
        "testproblem": folder.parts[-2],
        "batch_size": 128,
        "num_epochs": EPOCHS,
        "random_seed": seed,
        "train_losses": curve(final - 2),
        "test_losses": curve(final),
        "valid_losses": curve(final + 0.5 if valid is None else valid),
        "minibatch_train_losses": [1.0, 2.0],
        "optimizer_name": folder.parts[-1],
        "optimizer_hyperparams": point,
        "training_params": {"lr_sched_epochs": [1, 2], "lr_sched_factors": [0.9, 0.8]},
        **changes,
    }
    name = "__".join(f"{k}__{v}" for k, v in point.items())
    setting = folder / f"num_epochs__100__batch_size__128__{name}"
    setting.mkdir(parents=True, exist_ok=True)
    path = setting / f"random_seed__{seed}__2020-11-01-10-00-00.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def main(tmp_path) -> Path:
    return tmp_path / "results_main"


def place(main: Path, budget: str, schedule: str, optimizer: str) -> Path:
    return main / budget / schedule / "quadratic_deep" / optimizer


def test_budgets_schedules_and_classes_are_read_from_the_folders(main):
    # The sheet's values: SGD on P1.
    sgd = "GradientDescentOptimizer"
    write(place(main, "oneshot", "cosine", sgd), 87.978, seed=43)
    write(place(main, "oneshot", "ltr", sgd), 87.324, seed=42)
    write(place(main, "small_budget", "none", "AdamOptimizer"), 87.2)
    write(place(main, "large_budget", "cosine_wr", "RAdamOptimizer"), 87.3)
    scan = published.read(main)
    assert scan.left_out == []
    found = {
        (i.budgets, i.schedule, i.run.optimizer, i.run.seed): i.run.curves
        for i in scan.runs
    }
    finals = {key: curves["test_losses"][-1] for key, curves in found.items()}
    assert finals == {
        (("oneshot",), "cosine", "sgd", 43): 87.978,
        (("oneshot",), "ltr", "sgd", 42): 87.324,
        (("small",), "constant", "adam", 42): 87.2,
        (("large",), "cosine_wr", "radam", 42): 87.3,
    }
    assert all("valid_losses" in curves for curves in found.values())


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("AMSGradOptimizer", "amsgrad"),
        ("MomentumOptimizer", "momentum"),
        ("NesterovMomentumOptimizer", "nag"),
        ("RectifiedAdam", "radam"),
        ("LookaheadOptimizerMomentum", "lookaheadoptimizermomentum"),
        ("Lookahead_RAdam", "lookahead_radam"),
        ("Optimizer", "Optimizer"),
    ],
)
def test_names_of_classes_are_shortened(name, short):
    assert published.short(name) == short


def test_a_tail_of_initial_values_is_a_divergence(main):
    folder = place(main, "small_budget", "none", "MomentumOptimizer")
    tail = [START, 120.0, 200.0] + [START] * (EPOCHS - 2)
    diverged = write(folder, 90.0, point={"learning_rate": 1.0}).read_text()
    content = json.loads(diverged)
    losses = ("train_losses", "test_losses", "valid_losses")
    content |= dict.fromkeys(losses, tail)
    path = next(folder.glob("*learning_rate__1.0*/*.json"))
    path.write_text(json.dumps(content))
    write(folder, 95.0, point={"learning_rate": 0.1})
    scan = published.read(main)
    states = {i.run.learning_rate: i.run.has_diverged for i in scan.runs}
    assert states == {1.0: True, 0.1: False}
    assert any("1 runs diverged" in note for note in scan.notes)
    cell = cells.grid_of(scan.runs).cell("quadratic_deep", "momentum", "small")
    assert cell.chosen.learning_rate == 0.1
    assert cells.tuning_cost(cell.ranked[-1], cell.problem) == math.inf


def test_losses_that_are_not_finite_are_a_divergence(main):
    folder = place(main, "small_budget", "none", "SGD")
    write(folder, math.nan)
    (item,) = published.read(main).runs
    assert item.run.has_diverged


def test_runs_of_the_second_quadratic_are_told(main):
    folder = place(main, "oneshot", "none", "AdamOptimizer")
    write(folder, 87.0, seed=42)
    write(folder, 87.0, seed=43, test_losses=curve(86.0, SECOND_START))
    scan = published.read(main)
    second = [published.is_second_quadratic(item.run) for item in scan.runs]
    assert sorted(second) == [False, True]
    assert any(note.startswith("1 runs of quadratic_deep") for note in scan.notes)


def test_the_other_result_folders_are_studies_of_their_own(tmp_path):
    write(place(tmp_path / "results_main", "small_budget", "none", "SGD"), 90.0)
    again = tmp_path / "results_tuning_validation"
    write(again / "quadratic_deep" / "RMSPropOptimizer", 91.0, seed=100)
    seeds = tmp_path / "results_seed_robustness"
    write(seeds / "fmnist_2c2d" / "SGD", 0.9, **accuracies(0.9))
    found = {(i.study, i.run.optimizer) for i in published.read(tmp_path).runs}
    assert found == {("main", "sgd"), ("retuning", "rmsprop"), ("seeds", "sgd")}


def accuracies(final: float) -> dict[str, list[float]]:
    values = np.linspace(0.1, final, EPOCHS + 1).tolist()
    names = ("train_accuracies", "test_accuracies", "valid_accuracies")
    return dict.fromkeys(names, values)


def test_damaged_files_are_left_out_and_the_rest_is_used(main):
    folder = place(main, "oneshot", "none", "SGD")
    write(folder, 90.0, seed=42)
    write(folder, 90.0, seed=43).write_text("{")
    write(folder, 90.0, seed=44, valid_losses=[1.0])
    scan = published.read(main)
    assert [item.run.seed for item in scan.runs] == [42]
    assert len(scan.left_out) == 2
    assert all(phrase.startswith("oneshot/none: ") for phrase in scan.left_out)


@pytest.mark.parametrize("kind", ["empty", "file", "missing"])
def test_a_folder_without_results_is_refused(tmp_path, kind):
    path = tmp_path / "results"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    with pytest.raises(BadLogs, match="results"):
        published.read(path)


# Made studies: runs as values.


def a_run(
    final, *, name="adam", seed=42, rate=0.01, valid=None, problem="quadratic_deep"
):
    curves = {
        "test_losses": np.array(curve(final)),
        "train_losses": np.array(curve(final - 2)),
        "valid_losses": np.array(curve(final if valid is None else valid)),
    }
    if problem == "fmnist_2c2d":
        values = np.linspace(0.1, final, EPOCHS + 1)
        curves |= dict.fromkeys(
            ("test_accuracies", "train_accuracies", "valid_accuracies"), values
        )
    return Run(problem, name, {"learning_rate": rate}, seed, 128, curves)


def a_study(table, schedule="constant"):
    """Runs with seeds 42 and 43 of values by optimizer, problem and budget."""
    return [
        ValleyRun(
            a_run(value + delta, name=name, seed=seed, problem=problem, rate=0.01),
            (budget,),
            schedule,
        )
        for (name, problem, budget), value in table.items()
        for seed, delta in ((42, -0.001), (43, 0.001))
    ]


P1, P3 = "quadratic_deep", "fmnist_2c2d"
TABLE = {
    ("sgd", P1, "oneshot"): 200.0,
    ("adam", P1, "oneshot"): 100.0,
    ("sgd", P1, "small"): 100.0,
    ("adam", P1, "small"): 80.0,
    ("sgd", P3, "oneshot"): 0.5,
    ("adam", P3, "oneshot"): 0.8,
    ("sgd", P3, "small"): 0.75,
    ("adam", P3, "small"): 0.88,
}


@pytest.fixture
def grid():
    return cells.grid_of(a_study(TABLE), order=["sgd", "adam"])


def test_the_heatmap_has_mean_relative_improvements(grid):
    found = analyses.heatmap(grid, "small")
    assert found.optimizers == ["sgd", "adam"]
    expected = [
        [(0.5 + 0.5) / 2, (0.6 + 0.76) / 2],
        [(0.0 - 0.0625) / 2, (0.2 + 0.1) / 2],
    ]
    np.testing.assert_allclose(found.values, expected, atol=1e-9)


def test_gains_are_relative_to_the_defaults_with_a_constant_schedule(grid):
    found = {(g.schedule, g.budget): g for g in analyses.gains(grid)}
    assert found["constant", "oneshot"].median == 0
    small = found["constant", "small"]
    assert small.of_optimizers == pytest.approx({"sgd": 0.5, "adam": 0.15})
    gains = [0.5, 0.5, 0.2, 0.1]
    quartiles = np.percentile(gains, [25, 50, 75])
    assert [small.low, small.median, small.high] == pytest.approx(list(quartiles))


def test_ranks_and_wins(grid):
    found = analyses.ranks(grid, "small", "constant")
    assert found.ranks.tolist() == [[2, 2], [1, 1]]
    wins = {w.optimizer: (w.wins, w.draws, w.cells) for w in analyses.wins(grid)}
    assert wins == {"sgd": (0, 0, 4), "adam": (4, 0, 4)}


def test_ties_share_their_rank():
    ranks = analyses.rank_of(np.array([3.0, 1.0, 3.0, np.nan, np.inf]))
    assert ranks[:3].tolist() == [2.5, 1.0, 2.5]
    assert math.isnan(ranks[3])
    assert ranks[4] == 4


def test_a_draw_is_within_a_deviation_of_the_best():
    runs = [
        ValleyRun(a_run(value, name=name, seed=seed), ("small",))
        for name, values in {
            "best": (88, 90),  # 89 ± 1.41
            "near": (90, 90.8),
            "far": (91, 91),
        }.items()
        for seed, value in enumerate(values, start=42)
    ]
    found = {w.optimizer: (w.wins, w.draws) for w in analyses.wins(cells.grid_of(runs))}
    assert found == {"best": (1, 0), "near": (0, 1), "far": (0, 0)}


def tuning_runs():
    """Five settings: the test value is ten times the validation value's rank."""
    return [
        ValleyRun(
            a_run(10.0 * (i + 1), rate=0.1 * (i + 1), valid=100.0 + i), ("small",)
        )
        for i in (3, 0, 4, 1, 2)
    ]


def test_a_simulated_budget_is_the_mean_over_all_subsets():
    (found,) = analyses.simulate(cells.grid_of(tuning_runs()))
    values = [10.0, 20.0, 30.0, 40.0, 50.0]
    for n in range(1, 6):
        subsets = list(itertools.combinations(values, n))
        expected = sum(min(subset) for subset in subsets) / len(subsets)
        assert found.values[n - 1] == pytest.approx(expected)


def test_settings_are_chosen_by_validation_at_the_end_or_at_its_best():
    late = a_run(50.0, rate=0.1, valid=60.0)
    early = a_run(70.0, rate=0.2, valid=90.0)
    early.curves["valid_losses"][30] = 10.0
    runs = [ValleyRun(run, ("small",)) for run in (late, early)]
    final = cells.grid_of(runs).cell(P1, "adam", "small")
    best = cells.grid_of(runs, "best").cell(P1, "adam", "small")
    assert (final.chosen.learning_rate, best.chosen.learning_rate) == (0.1, 0.2)


def test_without_validation_values_the_test_values_choose(tmp_path):
    runs = [a_run(90.0, rate=0.1), a_run(80.0, rate=0.2)]
    for run in runs:
        del run.curves["valid_losses"]
    grid = cells.grid_of([ValleyRun(run, ("small",)) for run in runs])
    assert grid.cell(P1, "adam", "small").chosen.learning_rate == 0.2
    found = report.document(report.Study(grid, {}), "test")
    assert any("chosen by their test values" in warning for warning in found.warnings)


def test_the_chosen_setting_is_the_repeated_one():
    runs = [a_run(80.0, rate=0.1), *(a_run(90.0, rate=0.2, seed=s) for s in (42, 43))]
    grid = cells.grid_of([ValleyRun(run, ("small",)) for run in runs])
    assert grid.cell(P1, "adam", "small").chosen.learning_rate == 0.2


def test_a_point_that_was_drawn_twice_counts_once():
    runs = [a_run(80.0, rate=0.1), a_run(80.0, rate=0.1), a_run(70.0, rate=0.2)]
    cell = cells.grid_of([ValleyRun(r, ("small",)) for r in runs]).cell(
        P1, "adam", "small"
    )
    assert sorted(len(s.runs) for s in cell.settings) == [1, 1]


def seed_runs():
    """Rates 0.1 to 0.3 with four seeds; at 0.2 two diverge, at 0.3 all."""
    from dataclasses import replace

    found = []
    for number, rate in enumerate((0.1, 0.2, 0.3)):
        for seed in range(42, 46):
            run = a_run(90.0 - number + 0.1 * seed, name="sgd", rate=rate, seed=seed)
            fails = number == 2 or (number == 1 and seed > 43)
            found.append(ValleyRun(replace(run, has_diverged=fails), ("small",)))
    return found


def test_the_danger_zone_is_where_the_seed_decides():
    (found,) = analyses.sweeps(cells.grid_of(seed_runs()))
    assert found.rates.tolist() == [0.1, 0.2, 0.3]
    assert found.failed.tolist() == [0, 2, 4]
    assert found.danger.tolist() == [False, True, False]


def test_tuning_again_moves_a_rank():
    table = {
        ("a", P1, "small"): 90.0,
        ("b", P1, "small"): 91.0,
        ("c", P1, "small"): 92.0,
    }
    first = cells.grid_of(a_study(table))
    again = cells.grid_of(a_study({("c", P1, "small"): 90.5}))
    (shift,) = analyses.retuned(first, again, "small")
    assert (shift.rank_before, shift.rank_after) == (3, 2)


def a_report(**more) -> dict[str, str]:
    trapezoid = a_study({k: v for k, v in TABLE.items() if k[2] == "small"}, "ltr")
    grid = cells.grid_of([*a_study(TABLE), *trapezoid, *tuning_runs()])
    return report.files(report.Study(grid, {"sgd": "SGD & <b>"}, **more), "test")


def test_every_analysis_has_a_table_and_a_figure():
    again = cells.grid_of(a_study({("adam", P1, "small"): 85.0}))
    files = a_report(again=again, seeds=cells.grid_of(seed_runs()))
    kinds = {Path(name).stem.rpartition("_")[0] for name in files if "figures/" in name}
    wanted = {"heatmap", "gains", "parallel", "ranks", "wins", "budgets"}
    assert kinds == wanted | {"seeds", "retuning"}
    page = files["report.html"]
    for key in ("heatmap_small_constant", "gains", "parallel_small_constant", "wins"):
        assert f'id="table-valley_{key}"' in page
    assert (
        "<b>"
        not in page.replace("<b>1</b>", "").replace("<b>2</b>", "").split("</ul>")[0]
    )
    assert "SGD &amp; &lt;b&gt;" in page


def test_figures_are_well_formed_and_lie_inside_their_frame():
    for name, content in a_report(seeds=cells.grid_of(seed_runs())).items():
        if not name.endswith(".svg"):
            continue
        root = ET.fromstring(content)
        width = float(root.get("viewBox").split()[2])
        assert "nan" not in content, name
        for element in root.iter("{http://www.w3.org/2000/svg}circle"):
            assert -10 <= float(element.get("cx")) <= width + 10, name


def test_an_optimizer_whose_runs_all_diverge_is_shown_and_ranks_last():
    from dataclasses import replace

    bad = [
        replace(i, run=replace(i.run, has_diverged=True))
        for i in a_study(
            {("bad", P1, "oneshot"): math.nan, ("bad", P1, "small"): math.nan}
        )
    ]
    grid = cells.grid_of([*a_study(TABLE), *bad])
    ranks = analyses.ranks(grid, "small", "constant")
    assert ranks.ranks[grid.optimizers.index("bad"), 0] == 3
    assert "report.html" in report.files(report.Study(grid, {}), "test")
