"""Plans as people write them: a TOML file or a built-in name, with options on top.

Each key stands once, in the tables below: reading, errors and the schema for editors are made
from them. Errors name the file, the line, the key, and the nearest key that exists.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from algoperf import paths, registry, rulesets
from algoperf.campaign.plan import Plan, make_entry, with_own_names, workloads_of
from algoperf.errors import AlgoPerfError, BadSettings, UnknownName, near
from algoperf.frameworks import FRAMEWORKS
from algoperf.runner import door
from algoperf.runner.settings import PRECISIONS, default_data_dir

SUFFIX = ".toml"
# Workloads and, where they differ from the ruleset's, studies of the built-in plans.
BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "mini": {"workloads": ["tier:mini"]},
    "base": {"workloads": ["tier:full"]},
    # A first pass over everything at the price of one study; not enough for a score.
    "qualification": {"workloads": ["tier:full"], "studies": 1},
}
_KINDS = {
    "text": (str, "string", "text in quotes"),
    "path": (str, "string", "a path in quotes"),
    "count": (int, "integer", "a whole number"),
    "number": ((int, float), "number", "a number"),
    "flag": (bool, "boolean", "true or false"),
    "names": (list, "array", "a list of texts"),
    "tables": (list, "array", "tables, each under [[submissions]]"),
}


@dataclass(frozen=True)
class Key:
    """One key of a plan's file."""

    name: str
    kind: str  # of _KINDS
    about: str
    choices: tuple[str, ...] = ()


KEYS = (
    Key("name", "text", "Name of the campaign; by default that of the file."),
    Key(
        "folder",
        "path",
        "Folder for the logs; by default experiments/NAME of the current one.",
    ),
    Key("data_dir", "path", "Folder that contains prepared data."),
    Key("submissions", "tables", "The submissions, one table each."),
    Key("workloads", "names", "Names of workloads, or tier:full, tier:mini."),
    Key(
        "held_out_seed", "text", "Public text from which held-out workloads are drawn."
    ),
    Key("ruleset", "text", "Rules to run under.", tuple(rulesets.RULESETS)),
    Key("studies", "count", "Number of studies; by default the ruleset's."),
    Key("trials", "count", "Trials of each study; by default the ruleset's."),
    Key("seed", "count", "Seed that the seeds of all trials derive from."),
    Key("precision", "text", "Compute precision.", PRECISIONS),
    Key("processes", "count", "Processes that share a PyTorch trial, one per GPU."),
    Key("torch_compile", "flag", "Whether to compile PyTorch models."),
    Key("checkpoints", "flag", "Whether to save checkpoints."),
    Key("checkpoint_every", "text", "How often: auto, a time, or a size per hour."),
    Key("partial_data", "flag", "Whether to accept data prepared with --subset."),
    Key("max_steps", "count", "End each trial after so many steps."),
    Key("eval_every_steps", "count", "Evaluate by steps instead of by time."),
    Key(
        "by_steps",
        "flag",
        "Compare by steps: end at the validation target or the step hint.",
    ),
    Key("hang_seconds", "number", "Abort a trial that makes no progress for so long."),
    Key("notice_seconds", "number", "How long a step may take after SIGTERM."),
    Key("log_to", "names", "Loggers, as --log-to of `algoperf run` names them."),
)
SUBMISSION_KEYS = (
    Key("path", "path", "Python file of the submission."),
    Key("name", "text", "Name in the logs; by default that of the file's folder."),
    Key("framework", "text", "By default what the file imports.", tuple(FRAMEWORKS)),
    Key("search_space", "path", "JSON file; by default the one beside the submission."),
    Key("tuning", "text", "Tuning ruleset.", rulesets.TUNING_RULESETS),
    Key("authors", "text", "Who made it, for the report."),
    Key("link", "text", "Where to read about it."),
)


def schema() -> dict[str, Any]:
    """The JSON schema of a plan's file, for editors."""
    content = _object_schema(KEYS, ["submissions", "workloads"])
    content["properties"]["submissions"]["items"] = _object_schema(
        SUBMISSION_KEYS, ["path"]
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A campaign of algoperf",
        **content,
    }


def _object_schema(keys: tuple[Key, ...], required: list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key in keys:
        entry: dict[str, Any] = {"type": _KINDS[key.kind][1], "description": key.about}
        if key.choices:
            entry["enum"] = list(key.choices)
        if key.kind == "names":
            entry["items"] = {"type": "string"}
        properties[key.name] = entry
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class _Table:
    """One table of a file, with what errors need to name the place."""

    values: Mapping[str, Any]
    keys: tuple[Key, ...]
    source: str  # the file, or what stands for it
    lines: Mapping[str, int] = dataclasses.field(default_factory=dict)
    line: int | None = None  # where the table begins

    def checked(self) -> dict[str, Any]:
        """The values, each of the kind that its key asks for."""
        known = {key.name: key for key in self.keys}
        for name, value in self.values.items():
            if name not in known:
                hint = near(name, known)
                raise self.error(
                    name, f"there is no such key.{hint} Keys: {', '.join(known)}."
                )
            self._check(known[name], value)
        return dict(self.values)

    def _check(self, key: Key, value: Any) -> None:
        kind, _, words = _KINDS[key.kind]
        is_wrong_flag = isinstance(value, bool) and key.kind != "flag"
        if is_wrong_flag or not isinstance(value, cast(Any, kind)):
            raise self.error(key.name, f"is {value!r}; it must be {words}.")
        if key.kind == "names" and not all(isinstance(item, str) for item in value):
            raise self.error(key.name, f"is {value!r}; it must be {words}.")
        if key.kind == "tables" and not all(isinstance(item, dict) for item in value):
            raise self.error(key.name, f"must be {words}.")
        if key.choices and value not in key.choices:
            hint = near(value, key.choices)
            raise self.error(
                key.name,
                f"is {value!r}.{hint} Choose one of: {', '.join(key.choices)}.",
            )

    def error(self, name: str, problem: str) -> BadSettings:
        """The error about a key, with its place."""
        line = self.lines.get(name, self.line)
        place = self.source if line is None else f"{self.source}, line {line}"
        return BadSettings(f"{place}: {name}: {problem}")


def load(
    what: str, options: Mapping[str, Any], submissions: list[Path] | None = None
) -> Plan:
    """The plan that a file or a built-in name stands for.

    options: values by key that replace the file's. submissions: more of them, by path.
    Relative paths in a file are relative to its folder.
    """
    table, tables, base = _read(what)
    values = {**table.checked(), **{k: v for k, v in options.items() if v is not None}}
    values.pop("submissions", None)
    values["log_to"] = tuple(values.get("log_to", ()))
    entries, are_named = [], []
    for entry in tables:
        entries.append(_entry(entry, base))
        are_named.append("name" in entry.values)
    for path in submissions or ():
        entries.append(make_entry(paths.absolute(path)))
        are_named.append(False)
    if not entries:
        raise table.error(
            "submissions",
            "there is none. Add a [[submissions]] table with a path, or give --submissions.",
        )
    name = values.pop("name", None) or Path(what).stem
    rules = rulesets.ruleset(values.get("ruleset", rulesets.DEFAULT_RULESET))
    chosen = _workloads(table, values, rules)
    folder = _path(values.pop("folder", None) or Path("experiments") / name, base)
    data_dir = _path(values.pop("data_dir", None) or default_data_dir(), base)
    held_out = _held_out(table, values.get("held_out_seed", ""), rules)
    plan = Plan(
        name,
        folder,
        with_own_names(entries, are_named),
        tuple(dict.fromkeys([*chosen, *held_out])),
        data_dir,
        held_out=held_out,
        **values,
    )
    _check_settings(plan, table, tables)
    return plan


def _read(what: str) -> tuple[_Table, list[_Table], Path]:
    """The main table, the submissions' tables, and the folder that paths start from."""
    if not what.endswith(SUFFIX):
        if what not in BUILT_IN:
            raise UnknownName(
                f"No plan named {what!r}.{near(what, BUILT_IN)} Give a {SUFFIX} file, or one "
                f"of: {', '.join(BUILT_IN)}."
            )
        source = f"plan {what!r}"
        return _Table(BUILT_IN[what], KEYS, source), [], paths.absolute(Path())
    path = paths.absolute(paths.expanded(what))
    door.check_file(path, "plan")
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError names the line
        raise BadSettings(f"{paths.shown(path)} is not valid TOML: {error}.") from None
    lines, starts, inner = _lines_of(text)
    table = _Table(content, KEYS, str(path), lines)
    table.checked()
    tables = [
        _Table(
            values,
            SUBMISSION_KEYS,
            str(path),
            inner[number] if number < len(inner) else {},
            starts[number] if number < len(starts) else lines.get("submissions"),
        )
        for number, values in enumerate(content.get("submissions", []))
    ]
    return table, tables, path.parent


_HEADER = re.compile(r"\s*\[\[?\s*([\w.\"'-]+)\s*\]")
_ASSIGNMENT = re.compile(r"\s*[\"']?([\w-]+)[\"']?\s*=")


def _lines_of(text: str) -> tuple[dict[str, int], list[int], list[dict[str, int]]]:
    """Lines of the keys at the top, where submissions begin, and lines of their keys."""
    top: dict[str, int] = {}
    starts: list[int] = []
    inner: list[dict[str, int]] = []
    current = top
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = header[1].strip("\"'")
            top.setdefault(name, number)
            current = {}
            if name == "submissions":
                starts.append(number)
                inner.append(current)
        elif assignment := _ASSIGNMENT.match(line):
            current.setdefault(assignment[1], number)
    return top, starts, inner


def _entry(table: _Table, base: Path) -> Any:
    values = table.checked()
    if "path" not in values:
        raise table.error("path", "is missing. Give the submission's Python file.")
    path = _path(values.pop("path"), base)
    if "search_space" in values:
        values["search_space"] = _path(values["search_space"], base)
    try:
        return make_entry(path, **values)
    except AlgoPerfError as error:
        raise table.error("path", str(error)) from None


def _path(value: str | Path, base: Path) -> Path:
    """A path of the file: relative to the file's folder."""
    if isinstance(value, Path):
        return paths.absolute(value)  # given on the command line, or a default
    return paths.absolute(base / paths.expanded(value))


def _workloads(table: _Table, values: dict[str, Any], rules: Any) -> tuple[str, ...]:
    words = values.pop("workloads", None)
    if not words:
        raise table.error(
            "workloads", 'is missing. Give names, or ["tier:mini"] or ["tier:full"].'
        )
    try:
        return workloads_of(words, rules)
    except AlgoPerfError as error:
        raise table.error("workloads", str(error)) from None


def _held_out(table: _Table, seed: str, rules: Any) -> tuple[str, ...]:
    if not seed:
        return ()
    try:
        drawn = registry.scoring_module("held_out").draw_from_registry(seed, rules)
    except AlgoPerfError as error:
        raise table.error("held_out_seed", str(error)) from None
    if not drawn:
        raise table.error(
            "held_out_seed",
            f"ruleset {rules.name} has no held-out workloads. Leave the key out.",
        )
    return tuple(drawn)


_OPTION_OF = {  # as the settings of a run name a value -> key of a plan
    "--trials": "trials",
    "--studies": "studies",
    "--seed": "seed",
    "--max-steps": "max_steps",
    "--eval-every-steps": "eval_every_steps",
    "--hang-seconds": "hang_seconds",
    "--notice-seconds": "notice_seconds",
    "--checkpoint-every": "checkpoint_every",
    "--num-processes": "processes",
}
_NAME_OPTION = "--experiment-name"


def _check_settings(plan: Plan, table: _Table, tables: Sequence[_Table]) -> None:
    """What the settings of a run refuse is an error of the key that it comes from."""
    for number, entry in enumerate(plan.submissions):
        try:
            for workload in plan.workloads:
                plan.settings(entry, workload)
        except AlgoPerfError as error:
            option, _, problem = str(error).partition(" ")
            if option == _NAME_OPTION and number < len(tables):
                raise tables[number].error("name", problem) from None
            if option in _OPTION_OF:
                raise table.error(_OPTION_OF[option], problem) from None
            raise
