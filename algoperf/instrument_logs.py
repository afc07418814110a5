"""`instruments.jsonl` of a trial: what its instruments measured. Written and read here.

One JSON object a line. A header says what is measured and how, once for each part of a trial
that was interrupted; every other line holds values of one step:

    {"step": 12, "at": 12, "values": {"Loss": 0.7, "GradNorm": [...]}, "microseconds": {...}}

`at` is the step at which the line was written: what takes two steps (Alpha) follows in a line of
its own. Values are numbers, lists in the order of the header's parameters, or histograms with
`counts` and `bins` ([number, low, high]). What is not finite is a string that `float` reads.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from algoperf.errors import BadLogs
from algoperf.files import read_regular, write_atomically
from algoperf.paths import shown

FILE = "instruments.jsonl"
_HEADER, _STEP, _AT, _VALUES = "header", "step", "at", "values"


class InstrumentLog:
    """Appends to a trial's file, and drops the lines of steps that a resumed trial repeats."""

    def __init__(
        self, folder: Path, header: Mapping[str, Any], first_step: int
    ) -> None:
        """first_step: the first one that this part of the trial runs."""
        path = folder / FILE
        kept = []
        if first_step and path.exists():
            for line in _lines(path):
                begins = line[_HEADER]["first_step"] if _HEADER in line else line[_AT]
                if begins < first_step:
                    kept.append(line)
        kept.append({_HEADER: {**header, "first_step": first_step}})
        write_atomically(path, "".join(map(_encoded, kept)))
        self._file: TextIO = path.open("a", encoding="utf-8")

    def add(self, step: int, at: int, values: Mapping[str, Any], **more: Any) -> None:
        """Appends values of a step; `at` is the step at which they became known."""
        line = {_STEP: step, _AT: at, _VALUES: values, **more}
        self._file.write(_encoded(line))
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@dataclass
class Measured:
    """What the instruments of one trial measured, as read from its file."""

    headers: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)  # by name, merged
    refused: dict[str, str] = field(default_factory=dict)  # quantity: why
    microseconds: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def header(self) -> dict[str, Any]:
        """The header of the last part of the trial, or {}."""
        return self.headers[-1] if self.headers else {}

    @property
    def parameters(self) -> list[str]:
        """Names of the tensors, in the order of all lists."""
        return list(self.header.get("parameters", {}))

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps, int64, and values, float64, of a quantity; lists are combined.

        Norms and distances by the root of the sum of squares, traces by the sum.
        """
        steps, values = [], []
        for step, found in sorted(self.steps.items()):
            if name in found:
                steps.append(step)
                values.append(_combined(name, found[name]))
        return np.asarray(steps, np.int64), np.asarray(values, np.float64)

    def last(self, name: str) -> tuple[int, Any] | None:
        """The last recorded value of a quantity, with its step."""
        for step in sorted(self.steps, reverse=True):
            if name in self.steps[step]:
                return step, self.steps[step][name]
        return None


def _combined(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, list):
        return float(value)
    numbers = np.asarray([float(v) for v in value])
    if name == "HessTrace":
        return float(numbers.sum())
    return float(np.sqrt((numbers**2).sum()))


def read(folder: Path) -> Measured:
    """Reads all that was measured so far, and ignores an incomplete last line."""
    measured = Measured()
    for line in _lines(folder / FILE):
        if _HEADER in line:
            measured.headers.append(line[_HEADER])
            continue
        step = int(line[_STEP])
        measured.steps.setdefault(step, {}).update(line[_VALUES])
        measured.refused.update(line.get("refused", {}))
        spent = measured.microseconds.setdefault(step, {})
        for part, microseconds in line.get("microseconds", {}).items():
            spent[part] = spent.get(part, 0.0) + float(microseconds)
    return measured


def has_instruments(folder: Path) -> bool:
    """Whether the trial in that folder had instruments."""
    return (folder / FILE).is_file()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    content = read_regular(path).decode("utf-8", errors="replace")
    lines = content.split("\n")
    for number, text in enumerate(lines[:-1], start=1):  # the last one is not complete
        try:
            line = json.loads(text)
            is_known = _HEADER in line or {_STEP, _AT, _VALUES} <= set(line)
        except (ValueError, TypeError):
            is_known = False
        if not is_known:
            raise BadLogs(
                f"Line {number} of {shown(path)} is no record of instruments: "
                f"{text[:80]!r}. Restore the file, or remove it."
            )
        yield line


def _encoded(line: Mapping[str, Any]) -> str:
    return json.dumps(_strict(line), allow_nan=False, separators=(",", ":")) + "\n"


def _strict(value: object) -> object:
    """Plain JSON values; numbers that are not finite as strings."""
    if isinstance(value, Mapping):
        return {str(key): _strict(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return _strict(value.tolist())
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return int(value) if isinstance(value, np.integer) else value
