"""The program for a first minute on a GPU, with stand-ins for what it measures."""

import dataclasses
import json
import sys
from pathlib import Path

import psutil
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu

    return gpu


@pytest.fixture
def job(gpu):
    def make(code, kind="step", framework="pytorch", **values):
        values = {"seconds": 60.0, "workload": "ogbg", "batch_size": 64, **values}
        return gpu.Job(kind, framework, [sys.executable, "-c", code], **values)

    return make


def step_found(seconds, **more):
    found = {"first": 9.0, "later": [seconds], "peak_bytes": 2e9, **more}
    return f"print('a warning'); print({json.dumps(found)!r})"


def test_a_measurement_is_the_json_that_its_process_prints_last(gpu, job):
    found = gpu.run(job("print('a warning'); print('{\"x\": 1}')"), 60)
    assert (found.status, found.content) == ("ok", {"x": 1})
    indented = json.dumps({"verdict": "ok", "facts": [{"a": 1}]}, indent=2)
    assert gpu.run(job(f"print({indented!r})"), 60).content["verdict"] == "ok"


def test_one_that_fails_tells_how(gpu, job):
    found = gpu.run(job("raise SystemExit('out of memory')"), 60)
    assert (found.status, found.content.strip()) == ("failed", "out of memory")


def test_one_that_takes_too_long_is_ended_with_its_children(gpu, job, tmp_path):
    written = tmp_path / "child"
    code = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(written)!r}).write_text(str(child.pid))\n"
        "child.wait()"
    )
    found = gpu.run(job(code, seconds=2.0), 60)
    assert found.status == "timed out"
    child = int(written.read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


def test_the_time_of_the_whole_program_limits_a_measurement(gpu, job):
    assert gpu.run(job("import time; time.sleep(60)"), 0.1).status == "timed out"


def test_what_there_was_no_time_for_is_not_started_and_is_listed(gpu, job):
    found = gpu.run(job("raise SystemExit"), 0)
    assert found.status == "no time left"
    assert "for want of time: step pytorch ogbg float32 64." in gpu.markdown([found])


def test_the_table_has_speeds_shares_and_ratios(gpu, job):
    rates = 'print(\'{"float32": 1e12, "bfloat16": 2e12}\')'
    found = [
        gpu.run(job(rates, "rates", framework, workload="", batch_size=0), 60)
        for framework in gpu.FRAMEWORKS
    ]
    found.append(gpu.run(job(step_found(0.5, flops=2e11)), 60))
    later = step_found(1.0, peak_device_bytes=3e9)
    found.append(gpu.run(job(later, framework="jax"), 60))
    table = gpu.markdown(found)
    start = "| ogbg | 64 | float32 |"
    assert f"{start} pytorch | step | 500.0 | 9.0 | 2.00 | 0.400 | 0.40 |  |" in table
    assert f"{start} jax | step | 1000.0 | 9.0 | 3.00 | 0.200 | 0.20 | 2.00 |" in table


def test_an_evaluation_is_extrapolated_to_all_splits(gpu, job):
    code = step_found(1.0, evaluation=[0.5])
    found = gpu.run(job(code, "evaluation", workload="fastmri", batch_size=4), 60)
    definition = gpu.registry.definition("fastmri")
    splits = definition.splits
    examples = splits.eval_train + splits.validation + splits.test
    assert gpu.evaluation_seconds(found) == f"{examples / 8:.1f}"


def test_every_workload_comes_in_both_frameworks_before_anything_else(gpu):
    options = gpu.argparse.Namespace(workloads=gpu.WORKLOADS, tiny=False)
    planned = list(gpu.jobs(options))
    first = planned[2 : 2 + 2 * len(gpu.WORKLOADS)]
    assert {(j.workload, j.framework, j.precision, j.fraction) for j in first} == {
        (name, framework, "float32", 8)
        for name in gpu.WORKLOADS
        for framework in gpu.FRAMEWORKS
    }
    kinds = {job.kind for job in planned}
    assert kinds >= {"evaluation", "compile", "charging", "copies", "rehearsal"}
    from made_up_batches import MAKERS

    assert set(gpu.WORKLOADS) == set(MAKERS)


def test_results_are_saved_after_every_measurement(gpu, job, tmp_path, monkeypatch):
    out, seen = tmp_path / "gpu.json", []

    def planned(options):
        yield job(step_found(1.0))
        seen.append(json.loads(out.read_text()))
        yield job(step_found(2.0), framework="jax")

    monkeypatch.setattr(gpu, "jobs", planned)
    gpu.main(["--out", str(out), "--minutes", "1"])
    assert [len(one) for one in seen] == [1]
    assert len(json.loads(out.read_text())) == 2
    assert "jax" in out.with_suffix(".md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_measurements_run_on_a_cpu(gpu, framework):
    pytest.importorskip("torch" if framework == "pytorch" else "jax")
    options = gpu.argparse.Namespace(workloads=["criteo1tb"], tiny=True)
    for planned in gpu.jobs(options):
        if planned.framework == framework and planned.kind != "compile":
            # Its limits are for a machine of its own.
            patient = dataclasses.replace(planned, seconds=1_200)
            found = gpu.run(patient, 1_200)
            assert found.status == "ok", found
