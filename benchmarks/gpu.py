"""What only a GPU can show, in one run of a few minutes on a fresh machine.

    python benchmarks/gpu.py --minutes 8 --out FILE.json
    python benchmarks/gpu.py --minutes 4 --out FILE.json --tiny --workloads ogbg   # on a CPU

Measures, most valuable first: whether every workload takes a step in both frameworks, its time,
compilation, memory and use of the device; what is charged for asynchronous work; whether copies
overlap with computation; a rehearsal with guards, memory accounting and a resumed trial; the
harness's overhead; bfloat16; half of the published batch; evaluation; `torch.compile`. Each
measurement runs in a process with a time limit. After each one, FILE.json is written anew, and
beside it FILE.md with a table; what there was no time for is listed as such. One process is alone
on the machine at a time, and nothing is downloaded.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import logs, registry

FRAMEWORKS = ("pytorch", "jax")  # the first counts the FLOPs of both
PRECISIONS = ("float32", "bf16")
# In the order of `docs/gpu.md`: the cheap ones to compile first.
WORKLOADS = (
    "ogbg",
    "criteo1tb",
    "imagenet_resnet",
    "imagenet_vit",
    "fastmri",
    "wmt",
    "librispeech_conformer",
    "librispeech_deepspeech",
    "finewebedu_lm",
)
FRACTIONS = (8, 2)  # the published batch is divided by
TINY_BATCH = {8: 16, 2: 64}
HERE = Path(__file__).parent
_TAIL = 2_000  # characters of the output of a measurement that failed


@dataclass(frozen=True)
class Job:
    """A measurement: a command that prints JSON, or text, and how long it may take."""

    kind: str
    framework: str
    command: Sequence[str]
    seconds: float = 90.0
    workload: str = ""
    precision: str = "float32"
    fraction: int = 8
    batch_size: int = 0


@dataclass
class Found:
    """What became of a job."""

    job: Job
    status: str  # ok, failed, timed out, no time left
    seconds: float = 0.0
    content: Any = None  # the JSON that it printed last; else the end of its output

    def to_json(self) -> dict[str, Any]:
        """As JSON object."""
        return dataclasses.asdict(self)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """All measurements, most valuable first."""
    for framework in FRAMEWORKS:
        yield small_job("rates", framework)
    yield from steps(options, "float32", 8)
    for kind in ("charging", "copies"):
        for framework in FRAMEWORKS:
            yield small_job(kind, framework)
    for framework in FRAMEWORKS:
        yield rehearsal(framework)
    for framework in FRAMEWORKS:
        command = [sys.executable, str(HERE / "overhead.py"), framework]
        yield Job("overhead", framework, [*command, "--steps", "200"], 60.0)
    yield from steps(options, "bf16", 8)
    yield from steps(options, "float32", 2)
    yield from steps(options, "float32", 8, "--evaluate")
    yield from steps(options, "float32", 8, "--compile", frameworks=("pytorch",))
    yield from steps(options, "bf16", 2)


def small_job(kind: str, framework: str) -> Job:
    """One of `gpu_jobs`."""
    return Job(
        kind, framework, [sys.executable, str(HERE / "gpu_jobs.py"), kind, framework]
    )


def rehearsal(framework: str) -> Job:
    """A few steps of a trial, guarded and measured, then resumed and compared bit by bit."""
    folder = registry.wing_folder("reference_algorithms") / "nadamw"
    command = [sys.executable, "-m", "algoperf.cli", "check"]
    command += [str(folder / f"submission_{framework}.py"), "--workload", "mnist_mini"]
    return Job("rehearsal", framework, [*command, "--json", "-"], 120.0)


def steps(
    options: argparse.Namespace,
    precision: str,
    fraction: int,
    extra: str = "",
    *,
    frameworks: Sequence[str] = FRAMEWORKS,
) -> Iterator[Job]:
    """Training steps of all workloads, at a part of the published batch."""
    for workload in options.workloads:
        size = registry.definition(workload).default_batch_size // fraction
        size = TINY_BATCH[fraction] if options.tiny else size
        for framework in frameworks:
            command = [sys.executable, str(HERE / "step.py")]
            command += ["--only", workload, framework, "--precision", precision]
            command += ["--batch-size", str(size), "--steps", "5", "--flops"]
            command += [extra] if extra else []
            command += ["--mini"] if options.tiny else []
            kind = {"": "step", "--evaluate": "evaluation", "--compile": "compile"}[
                extra
            ]
            yield Job(
                kind,
                framework,
                command,
                workload=workload,
                precision=precision,
                fraction=fraction,
                batch_size=size,
            )


def run(job: Job, seconds_left: float) -> Found:
    """Runs a job to its end, or ends it with all that it has started."""
    if seconds_left <= 0:
        return Found(job, "no time left")
    start = time.perf_counter()
    process = subprocess.Popen(
        job.command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=min(job.seconds, seconds_left))
        status = "ok" if process.returncode == 0 else "failed"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, status = process.communicate()[0], "timed out"
    content = printed(output) if status == "ok" else output[-_TAIL:]
    return Found(job, status, time.perf_counter() - start, content)


def printed(output: str) -> Any:
    """The JSON at the end of an output, on one line or on many; else the text's end."""
    lines = output.strip().splitlines()
    starts = [len(lines) - 1, *(i for i, line in enumerate(lines) if line == "{")]
    for start in starts:
        try:
            return json.loads("\n".join(lines[start:]))
        except (ValueError, IndexError):
            continue
    return output[-_TAIL:]


def save(path: Path, found: Sequence[Found]) -> None:
    """FILE.json and FILE.md, whole or not at all."""
    content = [one.to_json() for one in found]
    logs.write_atomically(path, json.dumps(content, indent=1) + "\n")
    logs.write_atomically(path.with_suffix(".md"), markdown(found))


def markdown(found: Sequence[Found]) -> str:
    """A table of the steps, one of everything else, and what was not measured."""
    rates = {
        (one.job.framework, precision): rate
        for one in found
        if one.job.kind == "rates" and one.status == "ok"
        for precision, rate in zip(PRECISIONS, one.content.values(), strict=True)
    }
    flops = {
        _size_of(one.job): one.content["flops"]
        for one in found
        if one.status == "ok" and one.job.kind == "step" and "flops" in one.content
    }
    lines = [
        "| workload | batch | precision | framework | what | step, ms | first, s | peak, GB "
        "| TFLOP/s | share of products | JAX / PyTorch | evaluation, s |",
        "| --- " * 12 + "|",
    ]
    lines += [
        step_row(one, found, flops, rates)
        for one in found
        if one.job.workload and one.status != "no time left"
    ]
    lines += ["", "| what | framework | status | s | found |", "| --- " * 5 + "|"]
    for one in found:
        if not one.job.workload and one.status != "no time left":
            text = json.dumps(one.content).replace("|", "/").replace("\\n", " ")
            lines.append(
                f"| {one.job.kind} | {one.job.framework} | {one.status} | "
                f"{one.seconds:.0f} | {text} |"
            )
    missing = [one.job for one in found if one.status == "no time left"]
    names = ", ".join(" ".join(_label(job)) for job in missing)
    return (
        "\n".join([*lines, "", f"Not measured, for want of time: {names or 'none'}."])
        + "\n"
    )


def _size_of(job: Job) -> tuple[str, int]:
    return job.workload, job.batch_size


def _label(job: Job) -> list[str]:
    words = [job.kind, job.framework, job.workload]
    return [word for word in [*words, job.precision, str(job.batch_size or "")] if word]


def step_row(
    one: Found,
    found: Sequence[Found],
    flops: Mapping[tuple[str, int], int],
    rates: Mapping[tuple[str, str], float],
) -> str:
    """A line of the table of steps; the error's last line where it failed."""
    job = one.job
    cells = [job.workload, str(job.batch_size), job.precision, job.framework, job.kind]
    if one.status != "ok":
        last = (str(one.content).strip().splitlines() or [""])[-1][:80]
        return "| " + " | ".join([*cells, f"{one.status}: {last}", *[""] * 6]) + " |"
    step = median(one.content["later"])
    peak = one.content.get("peak_device_bytes") or one.content["peak_bytes"]
    counted = flops.get(_size_of(job))
    rate = rates.get((job.framework, job.precision))
    speed = counted / step if counted else None
    cells += [f"{1e3 * step:.1f}", f"{one.content['first']:.1f}", f"{peak / 1e9:.2f}"]
    cells.append(f"{speed / 1e12:.3f}" if speed else "")
    cells.append(f"{speed / rate:.2f}" if speed and rate else "")
    cells.append(ratio_to_pytorch(one, found))
    cells.append(evaluation_seconds(one))
    return "| " + " | ".join(cells) + " |"


def ratio_to_pytorch(one: Found, found: Sequence[Found]) -> str:
    """Of the step times of JAX and PyTorch; empty beside PyTorch's."""
    same = dataclasses.replace(one.job, framework="pytorch", command=())
    for other in found:
        is_same = dataclasses.replace(other.job, command=()) == same
        if one.job.framework == "jax" and is_same and other.status == "ok":
            return (
                f"{median(one.content['later']) / median(other.content['later']):.2f}"
            )
    return ""


def evaluation_seconds(one: Found) -> str:
    """Of all three splits, extrapolated from a batch; the model's part alone."""
    if "evaluation" not in one.content:
        return ""
    splits = registry.definition(one.job.workload).splits
    examples = splits.eval_train + splits.validation + splits.test
    return f"{median(one.content['evaluation']) * examples / one.job.batch_size:.1f}"


def median(values: Sequence[float]) -> float:
    """The middle of an odd number of values, the upper middle of an even one."""
    return sorted(values)[len(values) // 2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures until everything is measured or the time is over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument(
        "--tiny", action="store_true", help="the mini forms, in tiny batches"
    )
    options = parser.parse_args(arguments)
    end = time.perf_counter() + 60 * options.minutes
    found: list[Found] = []
    for job in jobs(options):
        one = run(job, end - time.perf_counter())
        found.append(one)
        if one.status != "no time left":
            print(
                f"{one.status:10} {one.seconds:5.0f} s  {' '.join(_label(job))}",
                flush=True,
            )
            save(options.out, found)
    save(options.out, found)


if __name__ == "__main__":
    main()
