"""The shipped baselines: which there are, and their logs, packed into one file per framework."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.campaign.plan import Entry
from algoperf.errors import BadLogs, UnknownName, near
from algoperf.files import read_regular, write_atomically
from algoperf.frameworks import check_framework
from algoperf.suite import design
from algoperf.suite.runs import Results, Run

_FOLDER = Path(__file__).parent
_SPECS = "baselines.json"
_VERSION = 1
_DIGITS = 5  # of a curve's values


def _content() -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads((_FOLDER / _SPECS).read_text())
    return content


def names() -> tuple[str, ...]:
    """All baselines."""
    return tuple(_content()["points"])


def point(name: str) -> dict[str, Any]:
    """The one point of hyperparameters with which a baseline ran on every workload."""
    content = _content()
    if name not in content["points"]:
        raise UnknownName(
            f"No baseline named {name!r}.{near(name, names())} There are: "
            f"{', '.join(names())}."
        )
    values = {**content["shared"], **content["points"][name]}
    return {key: value for key, value in values.items() if value is not None}


def entry(name: str, framework: str, folder: Path) -> Entry:
    """A baseline as a submission of a campaign; its point is written below `folder`."""
    check_framework(framework)
    values = point(name)
    path = folder / f"{name}.json"
    text = json.dumps([values], indent=2) + "\n"
    if not path.exists() or path.read_text() != text:
        write_atomically(path, text)
    wing = registry.wing_folder("reference_algorithms") / name
    return Entry(wing / f"submission_{framework}.py", name, framework, "external", path)


def packed_file(framework: str) -> Path:
    """Where the packed logs of a framework lie."""
    return _FOLDER / f"logs_{framework}.json"


def shipped(framework: str) -> list[Results]:
    """The baselines' runs in a framework; an empty list where none are shipped."""
    path = packed_file(framework)
    return unpack(path) if path.exists() else []


def provenance(framework: str) -> Mapping[str, Any]:
    """With which command, when, and on what the baselines of a framework were made."""
    path = packed_file(framework)
    return _read(path)["made"] if path.exists() else {}


def pack(path: Path, found: Sequence[Results], command: str) -> None:
    """Writes runs into one file; machines are written once and numbered."""
    machines: list[Mapping[str, Any]] = []
    submissions = {
        results.name: {
            "point": dict(results.point),
            "runs": {
                workload: {
                    str(seed): _pack_run(run, machines) for seed, run in runs.items()
                }
                for workload, runs in results.runs.items()
            },
        }
        for results in sorted(found, key=lambda results: results.name)
    }
    ends = sorted(run.ended for run in _all_runs(found) if run.ended)
    fingerprints = {k: v for results in found for k, v in results.fingerprints.items()}
    head = {
        "version": _VERSION,
        "framework": found[0].framework,
        "made": {
            "command": command,
            "first_run": ends[0] if ends else None,
            "last_run": ends[-1] if ends else None,
            "machines": machines,
        },
        "fingerprints": dict(sorted(fingerprints.items())),
    }
    write_atomically(path, _lines(head, submissions))


def _lines(head: Mapping[str, Any], submissions: Mapping[str, Any]) -> str:
    """JSON with a run a line: short, and readable where two versions are compared."""
    parts = []
    for name, values in submissions.items():
        workloads = [
            f"   {json.dumps(workload)}: {{\n"
            + ",\n".join(f'    "{k}": {_short(run)}' for k, run in runs.items())
            + "}"
            for workload, runs in values["runs"].items()
        ]
        point = json.dumps(values["point"])
        runs = ",\n".join(workloads)
        parts.append(
            f'  {json.dumps(name)}: {{"point": {point}, "runs": {{\n{runs}}}}}'
        )
    start = json.dumps(head, indent=1).removesuffix("\n}")
    return f'{start},\n "submissions": {{\n' + ",\n".join(parts) + "\n }\n}\n"


def _short(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _all_runs(found: Iterable[Results]) -> Iterable[Run]:
    return (
        run
        for results in found
        for runs in results.runs.values()
        for run in runs.values()
    )


def _pack_run(run: Run, machines: list[Mapping[str, Any]]) -> dict[str, Any]:
    if run.machine not in machines:
        machines.append(run.machine)
    return {
        "steps": int(run.steps) if run.is_hit else None,
        "last_step": run.last_step,
        "seed": run.seed,
        "ended": run.ended,
        "machine": machines.index(run.machine),
        "curve": [[step, _rounded(value)] for step, value in run.curve],
    }


def _rounded(value: float) -> float | None:
    """None for what is no finite number."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(read_regular(path))
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']} instead of {_VERSION}")
        return content
    except (ValueError, KeyError, TypeError) as error:
        raise BadLogs(
            f"{path} is no file of packed baselines ({error}). Restore it, or make it anew: "
            "`python -m algoperf.suite.make_baselines --help`."
        ) from None


def unpack(path: Path) -> list[Results]:
    """The inverse of `pack`; without seconds, which do not compare across machines."""
    content = _read(path)
    try:
        return [
            Results(
                name,
                content["framework"],
                {
                    workload: {
                        int(seed): _unpack_run(run, content["made"]["machines"])
                        for seed, run in runs.items()
                    }
                    for workload, runs in values["runs"].items()
                },
                content["fingerprints"],
                point=values["point"],
            )
            for name, values in content["submissions"].items()
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadLogs(f"{path} is damaged ({error!r}). Restore it.") from None


def _unpack_run(content: Mapping[str, Any], machines: Sequence[Any]) -> Run:
    steps = content["steps"]
    return Run(
        steps=math.inf if steps is None else float(steps),
        last_step=content["last_step"],
        seed=content["seed"],
        curve=tuple(
            (step, math.nan if value is None else value)
            for step, value in content["curve"]
        ),
        ended=content["ended"],
        machine=machines[content["machine"]],
    )


def merged(shipped_ones: Iterable[Results], here: Sequence[Results]) -> list[Results]:
    """Shipped baselines, but for those that ran here too."""
    own = {results.name for results in here}
    return [results for results in shipped_ones if results.name not in own]


def gaps(
    found: Iterable[Results], workloads: Sequence[str], seeds: int = design.SEEDS
) -> dict[str, list[str]]:
    """For each baseline the workloads on which it has not run with so many seeds."""
    by_name = {results.name: results for results in found}
    missing = {}
    for name in names():
        results = by_name.get(name)
        lacking = [
            workload
            for workload in workloads
            if results is None
            or not results.has(workload)
            or results.num_seeds(workload) < seeds
        ]
        if lacking:
            missing[name] = lacking
    return missing
