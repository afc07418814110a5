"""DeepOBS's protocol: result folders, indicators, tables and figures."""

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from algoperf.errors import BadLogs, BadSettings
from algoperf.scoring.protocols.deepobs import (
    figures,
    folders,
    indicators,
    report,
    runs,
    runtime,
    tables,
)
from algoperf.scoring.protocols.deepobs.runs import Run, Setting

EPOCHS = 100
# The published table: problem, class, mean, sample deviation, epochs, learning rate.
PUBLISHED = [
    ("quadratic_deep", "GradientDescentOptimizer", 87.40, 0.17, 51.1, 1.58e-2),
    ("quadratic_deep", "MomentumOptimizer", 87.05, 0.03, 70.5, 2.51e-3),
    ("quadratic_deep", "AdamOptimizer", 87.11, 0.02, 39.9, 3.98e-2),
    ("fmnist_2c2d", "GradientDescentOptimizer", 0.9227, 0.0018, 40.6, 1.58e-1),
    ("fmnist_2c2d", "MomentumOptimizer", 0.9214, 0.0021, 59.1, 2.51e-3),
    ("fmnist_2c2d", "AdamOptimizer", 0.9234, 0.0029, 40.1, 2.51e-4),
    ("cifar10_3c3d", "GradientDescentOptimizer", 0.8371, 0.012, 42.5, 6.31e-2),
    ("cifar10_3c3d", "MomentumOptimizer", 0.8441, 0.0064, 40.7, 3.98e-4),
    ("cifar10_3c3d", "AdamOptimizer", 0.8475, 0.0035, 36.0, 3.98e-4),
]


def grid(number: int = 36) -> list[float]:
    return [10 ** (-5 + 0.2 * i) for i in range(number)]


def curves(judged, *, has_accuracy: bool) -> dict[str, np.ndarray]:
    judged = np.asarray(judged, float)
    if not has_accuracy:
        return {"test_losses": judged, "train_losses": judged - 2}
    losses = 3 - 2 * judged
    return {
        "test_losses": losses,
        "train_losses": losses - 0.5,
        "test_accuracies": judged,
        "train_accuracies": judged + 0.01,
    }


def a_run(judged, rate=0.01, seed=42, problem="quadratic_deep", optimizer="SGD"):
    has_accuracy = problem != "quadratic_deep"
    found = curves(judged, has_accuracy=has_accuracy)
    return Run(problem, optimizer, {"learning_rate": rate}, seed, 128, found)


def a_setting(*rows, rate=0.01, problem="quadratic_deep") -> Setting:
    return Setting(
        tuple(
            a_run(row, rate, 42 + seed, problem=problem)
            for seed, row in enumerate(rows)
        )
    )


LOSS = runs.problem_of("quadratic_deep", has_accuracy=False)
ACCURACY = runs.problem_of("fmnist_2c2d", has_accuracy=True)


def baseline(problem: str, optimizer: str, mean, std, epochs, rate) -> list[Run]:
    """A grid of 36 runs with seed 42 and nine more of the best, as in the published folders."""
    value = runs.problem_of(problem, has_accuracy=problem != "quadratic_deep")
    bound, worse = value.convergence, 0.1 if value.has_accuracy else 200.0
    assert bound is not None
    offsets = np.linspace(-1, 1, 10)
    finals = mean + std * offsets / offsets.std(ddof=1)
    whole = [
        round(epochs * 10) // 10 + (i < round(epochs * 10) % 10) for i in range(10)
    ]
    found = []
    best = min(grid(), key=lambda r: abs(math.log(r / rate)))
    for seed, (final, when) in enumerate(zip(finals, whole, strict=True), start=42):
        judged = np.full(EPOCHS + 1, worse)
        judged[when:] = bound
        judged[-1] = final
        point = {"learning_rate": best}
        found.append((point, seed, judged))
    for other in (r for r in grid() if r != best):
        found.append(({"learning_rate": other}, 42, np.full(EPOCHS + 1, worse)))
    return [
        Run(
            problem,
            optimizer,
            point,
            seed,
            128,
            curves(judged, has_accuracy=value.has_accuracy),
        )
        for point, seed, judged in found
    ]


@pytest.fixture(params=folders.RELEASES)
def release(request) -> str:
    return request.param


def test_the_published_table_comes_out_of_folders_in_the_published_layout(
    tmp_path, release
):
    written = [run for row in PUBLISHED for run in baseline(*row)]
    folders.write(tmp_path, written, release)
    scan = folders.read(tmp_path)
    assert len(scan.runs) == len(PUBLISHED) * 45
    assert scan.left_out == []
    by_name = {(r.problem.name, r.optimizer): r for r in indicators.results(scan.runs)}
    for problem, optimizer, mean, std, epochs, rate in PUBLISHED:
        result = by_name[problem, optimizer]
        assert result.performance.mean == pytest.approx(mean, rel=1e-9)
        assert result.performance.std == pytest.approx(std, rel=1e-6)
        assert result.speed == pytest.approx(epochs)
        assert result.chosen.learning_rate == pytest.approx(rate, rel=5e-3)
        assert len(result.chosen.runs) == 10
    text = tables.summary(list(by_name.values())).text()
    assert "87.40 ± 0.17" in text
    assert "92.27 ± 0.18" in text
    assert "1.58e-02" in text


def test_reading_gives_what_was_written(tmp_path, release):
    run = Run(
        "fmnist_2c2d",
        "MomentumOptimizer",
        {"momentum": 0.99, "learning_rate": 10**-1.8, "use_nesterov": False},
        42,
        64,
        curves([0.1, 0.5, 0.9], has_accuracy=True),
        weight_decay=0.002,
        ended="2019-02-03-04-05-06",
    )
    (path,) = folders.write(tmp_path, [run], release)
    (found,) = folders.read(tmp_path).runs
    assert found.setting == run.setting
    assert (found.seed, found.ended) == (run.seed, run.ended)
    for name, values in run.curves.items():
        np.testing.assert_array_equal(found.curves[name], values)
    start = "num_epochs__2__batch_size__64__weight_decay__2.e-03__"
    names = {
        "1.1": "momentum__9.9e-01__use_nesterov__False__lr__1.5848931925e-02",
        "1.2": "learning_rate__1.5848931925e-02__momentum__9.9e-01__use_nesterov__False",
    }
    expected = Path("fmnist_2c2d", "MomentumOptimizer", start + names[release])
    assert path.relative_to(tmp_path) == (
        expected / "random_seed__42__2019-02-03-04-05-06.json"
    )


def test_the_keys_are_those_of_the_release(tmp_path):
    run = a_run([3, 2, 1])
    keys = {}
    for name in folders.RELEASES:
        (path,) = folders.write(tmp_path / name, [run], name)
        keys[name] = json.loads(path.read_text()).keys()
    common = {"testproblem", "batch_size", "num_epochs", "random_seed"}
    common |= {"test_losses", "train_losses"}
    assert keys["1.1"] >= common | {"optimizer", "learning_rate", "hyperparams"}
    assert keys["1.2"] >= common | {"optimizer_name", "optimizer_hyperparams"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01, "1.e-02"),
        (10**-1.8, "1.5848931925e-02"),
        (1.0, "1.e+00"),
        (0.0, "0.e+00"),
        (5, "5"),
        (True, "True"),
        (2.5e-100, "2.5e-100"),
    ],
)
def test_floats_in_names_have_up_to_ten_digits_and_an_exponent(value, text):
    assert folders.number_text(value) == text


def damaged(path: Path, **changes) -> None:
    content = json.loads(path.read_text())
    for name, value in changes.items():
        if value is None:
            del content[name]
        else:
            content[name] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_losses": [1.0, 2.0]}, "test_losses has 2 values; 2 epochs have 3"),
        ({"train_losses": None}, "train_losses is missing"),
        ({"test_losses": [1.0, "x", 2.0]}, "it must be a number"),
        ({"test_losses": [1.0, 10**400, 2.0]}, "beyond the largest float"),
        ({"test_accuracies": [0.1, 0.2, 0.3]}, "train_accuracies is missing"),
        ({"random_seed": None}, "random_seed is None"),
        ({"random_seed": True}, "random_seed is True"),
        ({"num_epochs": -1}, "num_epochs is -1"),
        ({"optimizer_hyperparams": None}, "optimizer_hyperparams"),
        ({"optimizer_hyperparams": {"lr": "big"}}, "learning_rate has 'big'"),
        ({"testproblem": "mnist_vae"}, "lies in the folder of quadratic_deep"),
    ],
)
def test_the_check_names_a_damaged_file_and_keeps_the_others(tmp_path, changes, words):
    first, _ = folders.write(tmp_path, [a_run([3, 2, 1]), a_run([3, 2, 1], seed=43)])
    damaged(first, **changes)
    scan = folders.read(tmp_path)
    assert [run.seed for run in scan.runs] == [43]
    (phrase,) = scan.left_out
    assert words in phrase
    assert first.name in phrase


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000])
def test_the_check_names_a_file_that_is_no_json_object(tmp_path, text):
    (path,) = folders.write(tmp_path, [a_run([3, 2, 1])])
    path.write_text(text)
    scan = folders.read(tmp_path)
    assert scan.runs == []
    assert path.name in scan.left_out[0]


def test_the_check_names_empty_settings_and_seeds_that_stand_twice(tmp_path):
    (path,) = folders.write(tmp_path, [a_run([3, 2, 1])])
    newer = path.with_name("random_seed__42__2030-01-01-00-00-00.json")
    newer.write_text(path.read_text())
    (path.parent.parent / "empty").mkdir()
    scan = folders.read(tmp_path)
    assert [run.ended for run in scan.runs] == ["2030-01-01-00-00-00"]
    assert any("empty has no run" in phrase for phrase in scan.left_out)
    assert any("has seed 42 as" in phrase for phrase in scan.left_out)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(BadLogs, match="random_seed__42"):
        folders.read(tmp_path)


def test_a_name_too_long_for_a_folder_is_refused(tmp_path):
    point = {"learning_rate": 0.1} | {f"a_very_long_name_{i}": 0.5 for i in range(12)}
    run = Run("p", "o", point, 1, 1, curves([2, 1], has_accuracy=False))
    with pytest.raises(BadSettings, match="255"):
        folders.write(tmp_path, [run])


def test_selection_by_the_final_value_and_by_the_best():
    late, early = a_setting([9, 5, 3]), a_setting([9, 1, 4])
    assert indicators.select([late, early], LOSS, "final") is late
    assert indicators.select([late, early], LOSS, "best") is early
    good, peak = (
        a_setting([0.1, 0.5, 0.8], problem="fmnist_2c2d"),
        a_setting([0.1, 0.9, 0.7], problem="fmnist_2c2d"),
    )
    assert indicators.select([peak, good], ACCURACY, "final") is good
    assert indicators.select([good, peak], ACCURACY, "best") is peak


def test_selection_by_the_most_seeds_and_then_by_the_final_value():
    one, two, better = (
        a_setting([9, 1]),
        a_setting([9, 5], [9, 5]),
        a_setting([9, 4], [9, 4]),
    )
    assert indicators.select([one, two, better], LOSS, "most") is better


@pytest.mark.parametrize("mode", indicators.MODES)
def test_a_run_that_is_not_finite_is_never_chosen_over_one_that_is(mode):
    broken, sound = a_setting([9, math.nan]), a_setting([9, 9])
    infinite = a_setting([9, -math.inf])
    assert indicators.select([broken, infinite, sound], LOSS, mode) is sound


def test_speed_counts_epochs_from_before_training():
    bound = LOSS.convergence
    assert bound == 87.7032
    at_once = a_setting([bound, 99, 99])
    assert indicators.speed(at_once, LOSS) == 0
    later = a_setting([99, 99, 87], [99, 87, 87])
    assert indicators.speed(later, LOSS) == 1.5


def test_a_seed_that_never_converges_counts_one_more_than_there_are_epochs():
    never = a_setting([99, 99, 99])
    assert indicators.speed(never, LOSS) == 3
    half = a_setting([0.1, 0.2, 0.919809], [0.1, 0.2, 0.9198], problem="fmnist_2c2d")
    assert indicators.speed(half, ACCURACY) == 2.5


def test_speed_needs_a_published_convergence_performance():
    problem = runs.problem_of("mnist_mlp", has_accuracy=True)
    assert problem.convergence is None
    setting = a_setting([0.1, 1.0], problem="mnist_mlp")
    assert math.isnan(indicators.speed(setting, problem))


def test_relative_performance_is_turned_by_the_metric():
    losses = [
        a_setting([9, v], rate=r) for v, r in ((4, 0.1), (2, 0.01), (math.nan, 1.0))
    ]
    found = indicators.sensitivity(losses, LOSS)
    assert found.learning_rates.tolist() == [0.01, 0.1, 1.0]
    assert found.relative.tolist() == [1.0, 0.5, 0.0]
    assert found.num_good() == 1
    assert found.num_diverged == 1
    accuracies = [
        a_setting([0.1, v], rate=r, problem="fmnist_2c2d")
        for v, r in ((0.8, 1), (0.4, 2))
    ]
    assert indicators.sensitivity(accuracies, ACCURACY).relative.tolist() == [1.0, 0.5]


def test_a_best_loss_of_zero_is_the_best():
    losses = [a_setting([9, v], rate=r) for v, r in ((0.0, 0.1), (2.0, 0.01))]
    assert indicators.sensitivity(losses, LOSS).relative.tolist() == [0.0, 1.0]


def test_after_divergence_all_curves_have_their_initial_values():
    found = runs.with_divergence(
        Run(
            "fmnist_2c2d",
            "SGD",
            {},
            1,
            1,
            {
                "test_losses": np.array([3.0, 2.0, 2.5, 1.0]),
                "train_losses": np.array([2.9, 1.9, math.inf, 1.0]),
                "test_accuracies": np.array([0.1, 0.2, 0.3, 0.4]),
                "train_accuracies": np.array([0.15, 0.25, 0.35, 0.45]),
            },
        )
    )
    assert found.has_diverged
    assert found.curves["test_losses"].tolist() == [3.0, 2.0, 3.0, 3.0]
    assert found.curves["train_accuracies"].tolist() == [0.15, 0.25, 0.15, 0.15]


def test_optimizers_and_problems_have_the_published_order():
    given = ["lion", "AdamOptimizer", "sgd", "MomentumOptimizer"]
    assert runs.in_order(given) == ["sgd", "MomentumOptimizer", "AdamOptimizer", "lion"]
    names = runs.problems_in_order(["other", "tolstoi_char_rnn", "quadratic_deep"])
    assert names == ["quadratic_deep", "tolstoi_char_rnn", "other"]


def test_a_problem_that_is_not_ours_is_judged_by_what_it_has():
    found = indicators.results(
        [Run("cifar10_resnet", "SGD", {}, 1, 1, curves([0.1, 0.2], has_accuracy=True))]
    )
    assert found[0].problem.has_accuracy
    assert math.isnan(found[0].speed)


def test_the_shown_range_passes_over_the_extreme_values():
    low, high = figures.shown_range([*range(101), 1e9, math.nan])
    assert low < 21 < 79 < high < 100
    assert figures.shown_range([math.nan]) is None
    assert figures.shown_range([1.0, 1.0]) is None


@pytest.mark.parametrize(
    "finals",
    [[math.nan] * 2, [math.inf, -math.inf], [1.7e308, 1.7e308], [1e200, -1e200]],
)
@pytest.mark.filterwarnings("error")
def test_runs_without_a_finite_mean_are_reported_as_a_dash(finals):
    found = indicators.results(
        [a_run([5, final], seed=seed) for seed, final in enumerate(finals)]
    )
    assert not math.isfinite(found[0].performance.mean)
    files = report.files(found, [], "algoperf")
    for name in ("performance.svg", "learning_rates.svg"):
        ET.fromstring(files[name])
        assert "nan" not in files[name]


@pytest.mark.parametrize(
    "runs_of_one",
    [
        [
            Run(
                "quadratic_deep",
                "a",
                {"momentum": 0.9},
                1,
                1,
                curves([2, 1], has_accuracy=False),
            )
        ],
        [a_run([1.0])],  # no epoch at all
        [a_run([2, 1], rate=0.0)],
        [a_run([2, 1], rate=1e-300), a_run([2, 1], rate=1e300)],
        [a_run([2, 1]), a_run([3, 2, 1], rate=0.1)],  # of different length
        [a_run([0.1, 0.2], problem='<b>&"'), a_run([0, 0], problem="x")],
        [a_run([2, 1], optimizer=f"o{i}") for i in range(20)],
    ],
)
@pytest.mark.filterwarnings("error")
def test_odd_runs_have_a_report_too(runs_of_one):
    files = report.files(indicators.results(runs_of_one), [], "algoperf")
    for name in ("performance.svg", "learning_rates.svg"):
        ET.fromstring(files[name])


def test_a_file_without_the_curve_that_decides_is_named(tmp_path):
    (path,) = folders.write(tmp_path, [a_run([0.1, 0.2], problem="fmnist_2c2d")])
    damaged(path, test_accuracies=None, train_accuracies=None)
    scan = folders.read(tmp_path)
    assert scan.runs == []
    assert "has no test_accuracies, by which fmnist_2c2d is judged" in scan.left_out[0]


@pytest.fixture
def results() -> list[indicators.Result]:
    return indicators.results([run for row in PUBLISHED[:6] for run in baseline(*row)])


def test_the_report_has_every_file_and_its_figures_are_svg(results):
    files = report.files(results, ["x <has> no run"], "algoperf")
    assert set(files) >= {"report.html", "tables.tex", "performance.svg"}
    assert "x &lt;has&gt; no run" in files["report.html"]
    for name in ("performance.svg", "learning_rates.svg"):
        ET.fromstring(files[name])
    assert r"87.40 ± 0.17" in files["tables.tex"]
    # The figure with all panels, and each panel by itself.
    assert files["report.html"].count("fmnist_2c2d: training accuracy") >= 1
    assert "Performance of the chosen settings over the epochs" in files["report.html"]


def test_the_performance_figure_has_a_panel_for_each_curve_that_exists(results):
    rows = figures.curves(results)
    assert [[chart is not None for chart in row] for row in rows] == [
        [True, True],
        [True, True],
        [False, True],
        [False, True],
    ]
    assert rows[2][1].body.count('class="target"') == 2  # the convergence performance
    assert rows[3][1].body.count('class="target"') == 0


def test_the_data_for_pgfplots_have_a_row_for_each_epoch(results):
    lines = report.curve_data(results[0]).splitlines()
    assert len(lines) == EPOCHS + 2
    assert lines[0].split()[:3] == ["epoch", "test_losses_mean", "test_losses_std"]
    last = [float(word) for word in lines[-1].split()]
    assert last[:3] == pytest.approx([100, 87.40, 0.17], rel=1e-6)


def balanced(text: str) -> bool:
    """Whether braces and environments end in the order in which they begin."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    open_ones = []
    for word in re.findall(r"\\(?:begin|end)\{\w+\}|\\[{}]|[{}]", text):
        if word.startswith(("\\begin", "{")):
            open_ones.append(word.replace("begin", "end").replace("{", "}", 1))
        elif not word.startswith(("\\{", "\\}")):
            expected = open_ones.pop() if open_ones else ""
            if word.replace("{", "}", 1) != expected:
                return False
    return not open_ones


def test_figures_for_latex_read_columns_that_are_in_the_report(results):
    files = report.files(results, [], "algoperf")
    figure = files["performance.tex"]
    assert balanced(figure)
    read = re.findall(
        r"\\addplot\[([^]]*)\] table\[x=epoch, ([^]]*)\] \{([^}]*)\}", figure
    )
    # Two problems, one of them without accuracies, and three optimizers.
    assert len(read) == 3 * (2 + 4) * 3
    for _, columns, file in read:
        header = files[file].splitlines()[0].split()
        for column in re.findall(r"y=(\w+)|thisrow\{(\w+)\}", columns):
            assert "".join(column) in header
    assert figure.count(r"\nextgroupplot[group/empty plot]") == 2
    assert figure.count(r"\nextgroupplot") == 8
    assert figure.count(r"\draw[gray, dashed]") == 2  # the convergence performance
    assert r"\figurewidth" in figure
    assert r"quadratic\_deep" in figure


def test_the_sensitivity_for_latex_has_every_learning_rate(results):
    figure = report.files(results, [], "algoperf")["learning_rates.tex"]
    assert balanced(figure)
    plots = re.findall(r"coordinates \{([^}]*)\}", figure)
    assert [len(points.split()) for points in plots] == [36] * 6
    assert "(1e-05," in plots[0]


def test_odd_names_break_no_figure_for_latex():
    run = a_run([0.1, 0.2], problem="a{b_%", optimizer="50%_{x")
    files = report.files(indicators.results([run]), [], "algoperf")
    for name in ("performance.tex", "learning_rates.tex"):
        without_files = re.sub(r"table\[[^]]*\] \{.*\};", "", files[name])
        assert balanced(without_files.replace(r"\{", "").replace(r"\}", ""))


def test_the_runtime_is_a_section_where_it_was_measured(results):
    table = runtime.table({"adam": [(10.0, 12.0), (20.0, 30.0)]})
    without = report.files(results, [], "algoperf")
    files = report.files(results, [], "algoperf", table)
    assert "Runtime relative to SGD" in files["report.html"]
    assert "1.35 ± 0.21" in files["tables.tex"]
    assert "Runtime relative to SGD" not in without["report.html"]
