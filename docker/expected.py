"""Reads docker/expected.json for reproduce.sh: how to run a baseline, and what must come out.

    expected.py names                             one name a line
    expected.py workload NAME                     the workload that a name stands for
    expected.py frameworks NAME                   those installed here that the baseline has
    expected.py run NAME FRAMEWORK                arguments of `algoperf run`, one a line
    expected.py score NAME                        arguments of `algoperf score`, one a line
    expected.py compare NAME FRAMEWORK BOARD      compares a leaderboard of `algoperf score --json`

Status 0: done, or reproduced; 1: not reproduced; 2: wrong input. Needs nothing but Python.
"""

import difflib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("expected.json")
_MODULES = {"jax": "jax", "pytorch": "torch"}
_RUN_OPTIONS = (
    "ruleset",
    "studies",
    "trials",
    "first_trial",
    "last_trial",
    "seed",
    "eval_every_steps",
)


class WrongInput(Exception):
    """What the caller gave cannot be used; the text says why and what is right."""


@dataclass(frozen=True)
class Baseline:
    """One name: how it is run, and what is expected.

    steps: of the median study, to the scored target, by framework; None where it misses.
    """

    name: str
    workload: str
    recipe: Mapping[str, Any]
    steps: Mapping[str, int | None]
    published: tuple[Mapping[str, Any], ...] = ()

    def run_arguments(self, framework: str) -> list[str]:
        """What follows `algoperf run`, without places."""
        recipe = self.recipe
        arguments = [recipe["submission"].format(framework=framework)]
        arguments += ["--workload", self.workload, "--framework", framework]
        for option in _RUN_OPTIONS:
            if option in recipe:
                arguments += [f"--{option.replace('_', '-')}", str(recipe[option])]
        if "search_space" in recipe:
            return [*arguments, "--search-space", recipe["search_space"]]
        return [*arguments, "--tuning-ruleset", "self"]

    def score_arguments(self) -> list[str]:
        """What follows `algoperf score DIR`."""
        return [
            "--rules",
            self.recipe["ruleset"],
            "--studies",
            str(self.recipe["studies"]),
        ]


def baselines(content: Mapping[str, Any]) -> dict[str, Baseline]:
    """All names of the file: ALGORITHM-mini, the steadiest, and ALGORITHM-WORKLOAD."""
    found = {}
    for algorithm, kinds in content["baselines"].items():
        for suffix, recipe in kinds.get("mini", {}).items():
            name = f"{algorithm}-{suffix}"
            found[name] = Baseline(name, recipe["workload"], recipe, recipe["steps"])
        if "full" in kinds:
            for baseline in _full(algorithm, kinds["full"], content):
                found[baseline.name] = baseline
    return found


def _full(
    algorithm: str, recipe: Mapping[str, Any], content: Mapping[str, Any]
) -> list[Baseline]:
    """A baseline on each full workload that has a published median to compare with."""
    entries = [content["published"][entry] for entry in recipe["published"]]
    found = []
    for workload in entries[0]["workloads"]:
        name = f"{algorithm}-{workload}"
        steps = {}
        for framework in _MODULES:
            entry = _deciding(entries, framework)
            expected = entry["workloads"][workload]["steps"]
            # A miss says something under the same rules only: others have other budgets.
            if expected is not None or entry["rules"] == recipe["ruleset"]:
                steps[framework] = expected
        if steps:
            published = tuple(entry | entry["workloads"][workload] for entry in entries)
            found.append(Baseline(name, workload, recipe, steps, published))
    return found


def _deciding(
    entries: Sequence[Mapping[str, Any]], framework: str
) -> Mapping[str, Any]:
    """The first entry of that framework, or the first of all."""
    return next((e for e in entries if e["framework"] == framework), entries[0])


def named(name: str, content: Mapping[str, Any]) -> Baseline:
    """The baseline of that name."""
    known = baselines(content)
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise WrongInput(
        f"no baseline is named {name!r}.{hint} There are: {', '.join(known)}."
    )


def compare(
    baseline: Baseline, framework: str, board: Mapping[str, Any]
) -> tuple[bool, list[str]]:
    """Whether the leaderboard's only entry has the expected steps, and sentences about it."""
    entries = board["submissions"]
    if len(entries) != 1 or baseline.workload not in entries[0]["workloads"]:
        raise WrongInput(
            f"the leaderboard must hold one submission, on {baseline.workload}; it holds "
            f"{len(entries)}. Give an experiment folder of its own."
        )
    measured = entries[0]["workloads"][baseline.workload]
    expected, tolerance = baseline.steps[framework], baseline.recipe["tolerance"]
    steps = measured["steps"]
    if steps is None or expected is None:
        reproduced = steps is expected
    else:
        reproduced = abs(steps - expected) <= tolerance * expected
    margin = "" if expected is None else f" ± {tolerance:.0%}"
    lines = [
        f"{baseline.name}, {framework}: {_outcome(measured)} here; expected: "
        f"{_steps(expected)}{margin}. {'Reproduced.' if reproduced else 'NOT reproduced.'}"
    ]
    if steps is None and expected is not None:
        lines.append(
            "  A study also misses where the machine is too slow for its budget: see above how "
            "each trial ended."
        )
    lines += [
        f"  published: {_outcome(entry)}, {entry['studies']} studies, {entry['hardware']} "
        f"({entry['year']}, {entry['entry']}, {entry['framework']}, rules {entry['rules']})"
        for entry in baseline.published
    ]
    return reproduced, lines


def _steps(steps: float | None) -> str:
    return "target missed" if steps is None else f"{steps:,.0f} steps"


def _outcome(times: Mapping[str, Any]) -> str:
    """Median steps and seconds to the target, in words."""
    if times["steps"] is None:
        return "target missed"
    return f"{_steps(times['steps'])} in {times['seconds']:,.1f} s"


def _installed(baseline: Baseline) -> list[str]:
    found = [
        framework
        for framework in baseline.steps
        if importlib.util.find_spec(_MODULES[framework]) is not None
    ]
    if not found:
        raise WrongInput(
            f"{baseline.name} needs {' or '.join(baseline.steps)}, and neither is installed here."
        )
    return found


def _framework(baseline: Baseline, framework: str) -> str:
    if framework not in baseline.steps:
        raise WrongInput(
            f"{baseline.name} has no framework {framework!r}. It has: "
            f"{', '.join(baseline.steps)}."
        )
    return framework


def main(arguments: list[str]) -> int:
    """Answers one question about the file; returns the exit status."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    match arguments:
        case ["names"]:
            print("\n".join(baselines(content)))
        case ["workload", name]:
            print(named(name, content).workload)
        case ["frameworks", name]:
            print("\n".join(_installed(named(name, content))))
        case ["run", name, framework]:
            baseline = named(name, content)
            print("\n".join(baseline.run_arguments(_framework(baseline, framework))))
        case ["score", name]:
            print("\n".join(named(name, content).score_arguments()))
        case ["compare", name, framework, path]:
            baseline = named(name, content)
            board = json.loads(Path(path).read_text(encoding="utf-8"))
            reproduced, lines = compare(
                baseline, _framework(baseline, framework), board
            )
            print("\n".join(lines))
            return 0 if reproduced else 1
        case _:
            raise WrongInput(
                f"expected.py does not understand {' '.join(arguments)!r}."
            )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WrongInput as problem:
        print(f"reproduce: error: {problem}", file=sys.stderr)
        sys.exit(2)
