"""docker/expected.json and its reader: recipes that exist, published figures, verdicts."""

import csv
import importlib.util
import json
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from algoperf import registry
from algoperf.rulesets import RULESETS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docker" / "expected.py"
PUBLISHED = ROOT.parent / "shared" / "data"
# entry of expected.json: archive of logs, file of targets
SOURCES = {
    "baseline": ("published_v05_self_tuning_logs", "published_v05_targets"),
    "nadamw_baselinev05": (
        "published_v10_part_self_tuning_logs",
        "published_v10_targets",
    ),
    "schedule_free_adamw_v2": (
        "published_v10_part_self_tuning_logs",
        "published_v10_targets",
    ),
    "schedule_free_adamw_jax_v2": (
        "published_v10_part_self_tuning_logs",
        "published_v10_targets",
    ),
}


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docker_expected", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


expected = _load()
CONTENT: dict[str, Any] = json.loads(expected.FILE.read_text(encoding="utf-8"))
BASELINES = expected.baselines(CONTENT)
RUNS = [(name, f) for name, baseline in BASELINES.items() for f in baseline.steps]


def _board(steps: float | None, workload: str = "ogbg_mini") -> dict[str, Any]:
    seconds = None if steps is None else 2.5
    times = {"steps": steps, "seconds": seconds, "performance_ratio": 1.0}
    return {"submissions": [{"submission": "nadamw", "workloads": {workload: times}}]}


@pytest.mark.parametrize(("name", "framework"), RUNS)
def test_a_recipe_names_what_exists(name: str, framework: str) -> None:
    baseline = BASELINES[name]
    definition = registry.definitions()[baseline.workload]
    assert framework in ("jax", "pytorch")
    assert baseline.recipe["ruleset"] in RULESETS
    assert definition.tier == (
        "mini" if baseline.workload.endswith("_mini") else "full"
    )
    arguments = baseline.run_arguments(framework)
    assert (ROOT / arguments[0]).is_file()
    if "search_space" in baseline.recipe:
        assert (ROOT / baseline.recipe["search_space"]).is_file()


def test_the_command_line_understands_the_recipes() -> None:
    from algoperf.cli import _parser

    for name, framework in RUNS:
        options = _parser().parse_args(
            ["run", *BASELINES[name].run_arguments(framework)]
        )
        assert options.workloads == [BASELINES[name].workload]
        _parser().parse_args(["score", "logs", *BASELINES[name].score_arguments()])


def test_expected_steps_fit_the_studies_that_are_run() -> None:
    for baseline in BASELINES.values():
        assert baseline.recipe["studies"] >= 1
        assert 0 < baseline.recipe["tolerance"] < 1
        assert all(steps is None or steps > 0 for steps in baseline.steps.values())


@pytest.mark.parametrize(
    ("share", "reproduced"),
    [(1.0, True), (0.85, True), (1.15, True), (0.5, False), (2, False)],
)
def test_steps_within_the_tolerance_are_reproduced(
    share: float, reproduced: bool
) -> None:
    baseline = BASELINES["nadamw-mini"]
    board = _board(baseline.steps["jax"] * share)
    assert expected.compare(baseline, "jax", board)[0] is reproduced


def test_a_missed_target_is_not_reproduced_and_names_the_slow_machine() -> None:
    reproduced, lines = expected.compare(BASELINES["nadamw-mini"], "jax", _board(None))
    assert not reproduced
    assert "NOT reproduced" in lines[0]
    assert "too slow" in lines[1]


def test_a_published_miss_is_reproduced_by_a_miss_alone() -> None:
    baseline = BASELINES["nadamw-imagenet_resnet"]
    assert baseline.steps == {"jax": None, "pytorch": None}
    missed = _board(None, "imagenet_resnet")
    assert expected.compare(baseline, "jax", missed)[0]
    reached = _board(150_000.0, "imagenet_resnet")
    assert not expected.compare(baseline, "jax", reached)[0]


def test_published_times_are_shown_with_their_hardware() -> None:
    baseline = BASELINES["nadamw-ogbg"]
    _, lines = expected.compare(baseline, "jax", _board(26_000.0, "ogbg"))
    text = "\n".join(lines)
    assert "V100 16 GB" in text and "A100 40 GB" in text
    assert "8,422.8 s" in text and "2024" in text and "2026" in text


@pytest.mark.parametrize("workloads", [[], ["ogbg_mini", "ogbg_mini"], ["wmt"]])
def test_a_board_of_something_else_is_refused(workloads: list[str]) -> None:
    entries = [_board(100.0, workload)["submissions"][0] for workload in workloads]
    with pytest.raises(expected.WrongInput, match="experiment folder of its own"):
        expected.compare(BASELINES["nadamw-mini"], "jax", {"submissions": entries})


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True
    )


def test_an_unknown_name_is_answered_with_the_near_one() -> None:
    answer = _run("run", "nadamw-min", "jax")
    assert answer.returncode == 2
    assert "Did you mean 'nadamw-mini'?" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_unknown_framework_is_refused() -> None:
    answer = _run("run", "nadamw-mini", "tensorflow")
    assert answer.returncode == 2
    assert "It has: jax, pytorch." in answer.stderr


def test_the_exit_status_says_whether_it_is_reproduced(tmp_path: Path) -> None:
    board = tmp_path / "board.json"
    for steps, status in ((BASELINES["nadamw-mini"].steps["jax"], 0), (9.0, 1)):
        board.write_text(json.dumps(_board(steps)))
        assert _run("compare", "nadamw-mini", "jax", str(board)).returncode == status


def _median_hits(
    logs: Path, workload: str, target: dict[str, Any]
) -> tuple[Any, Any, int]:
    """Median steps, median seconds and number of studies that reached the validation target."""
    lower = target["target_metric_name"] in ("loss", "wer", "ppl")
    metric, bound = (
        f"validation/{target['target_metric_name']}",
        target["validation_target_value"],
    )
    hits = []
    for file in sorted(logs.glob(f"study_*/{workload}_*/trial_1")):
        if file.parent.name not in (f"{workload}_jax", f"{workload}_pytorch"):
            continue  # a variant's
        measurements = file / "eval_measurements.csv"
        rows = csv.DictReader(measurements.open()) if measurements.exists() else []
        values = [
            (float(row["global_step"]), float(row["accumulated_submission_time"]))
            for row in rows
            if row[metric]
            and (float(row[metric]) < bound if lower else float(row[metric]) > bound)
        ]
        hits.append(values[0] if values else (float("inf"), float("inf")))
    steps, seconds = (statistics.median(values) for values in zip(*hits, strict=True))
    reached = sum(hit[0] < float("inf") for hit in hits)
    if steps == float("inf"):
        return None, None, reached
    return int(steps), round(seconds, 1), reached


@pytest.mark.slow
@pytest.mark.parametrize("entry", SOURCES)
def test_published_figures_are_those_of_the_published_logs(
    entry: str, tmp_path: Path
) -> None:
    archive, targets_file = (PUBLISHED / name for name in SOURCES[entry])
    archive = archive.with_suffix(".tar.xz")
    if not archive.exists():
        pytest.skip("the published logs do not lie beside the checkout")
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if f"/{entry}/" in f"/{m.name}/"]
        tar.extractall(tmp_path, members, filter="data")
    targets = json.loads(targets_file.with_suffix(".json").read_text())["workloads"]
    (logs,) = tmp_path.glob(f"**/{entry}")
    record = CONTENT["published"][entry]
    for workload, stated in record["workloads"].items():
        found = _median_hits(logs, workload, targets[workload])
        assert found == (stated["steps"], stated["seconds"], stated["reached"]), (
            workload
        )
    _assert_same_schedules(entry, logs)


def _assert_same_schedules(entry: str, logs: Path) -> None:
    """Steps can be compared only where our ruleset has the step hints of the published runs."""
    for kinds in CONTENT["baselines"].values():
        full = kinds.get("full", {"published": []})
        if entry not in full["published"]:
            continue
        if full["ruleset"] == "v0.5" and CONTENT["published"][entry]["rules"] != "v0.5":
            continue  # shown for reference only
        for workload in CONTENT["published"][entry]["workloads"]:
            (study, *_) = sorted(logs.glob("study_*"))
            (file,) = study.glob(f"{workload}_[jp][ay]*/trial_1/meta_data_0.json")
            hint = json.loads(file.read_text())["workload.step_hint"]
            limits = registry.definitions()[workload].limits[full["ruleset"]]
            assert limits.step_hint == hint, workload
