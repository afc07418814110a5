"""`algoperf prepare --check`: whether raw data is complete, and what preparing it takes.

The time is measured on a sample, so it is an estimate for this machine and its disks.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from algoperf import input_files, plugins
from algoperf.definition import Splits
from algoperf.download import (
    Progress,
    check_space,
    free_bytes,
    readable_size,
    writing_to,
)
from algoperf.preparation import Preparation

# Examples a split of the two samples: the difference is what more examples cost.
_SAMPLES = (50, 200)
_LONG_SECONDS = 60.0  # a first sample that takes longer is the only one
_READ_BYTES = 256_000_000  # at most, to measure how fast raw files are read


@dataclass(frozen=True)
class Check:
    """What is to be prepared: from `raw` to `folder`."""

    module: plugins.PrepareModule  # the data set's `prepare`
    dataset: str
    raw: Path
    folder: Path
    splits: Splits
    progress: Progress
    now: Callable[[], float] = time.perf_counter

    def report(self) -> list[str]:
        """Lines for people; `BadData` names the first thing that is missing or wrong."""
        input_files.check_raw_folder(self.raw, self.module.RAW_HELP)
        files = self._files()
        total = sum(entry.size_bytes for entry in files)
        needed = self.module.space_needed(self.raw, None)
        counts = ", ".join(
            f"{split} {self.splits.size(split):,}"
            for split in ("train", "validation", "test")
        )
        return [
            f"Found: {self.raw} with {len(files):,} files, {readable_size(total)}. All "
            "files that are needed are there.",
            f"Examples to find in them: {counts}. They are counted while they are prepared.",
            check_space(self.folder, needed, f"Preparing {self.folder.name}"),
            f"{readable_size(free_bytes(self.raw))} are free beside the raw files, which "
            "are only read.",
            *self._time(files, needed),
        ]

    def _files(self) -> list[input_files.Entry]:
        """The raw files; below a folder of tensorflow-datasets, of this data set alone."""
        names = plugins.optional(self.module, "TFDS", ())
        stored = [self.raw / name for name in names]
        places = [place for place in stored if input_files.is_folder(place)]
        return [
            entry
            for place in places or [self.raw]
            for entry in input_files.files_below(place)
        ]

    def _time(self, files: list[input_files.Entry], needed_bytes: int) -> list[str]:
        """The estimated time, from two samples; a lower bound where one takes long."""
        first = self._sample(_SAMPLES[0])
        reading = self._reading_seconds(files)
        said = (
            f"A sample of {_SAMPLES[0]} examples a split was prepared in {first:.1f} s."
        )
        if first > _LONG_SECONDS:
            return [
                f"{said} Reading all raw files once takes about {_readable(reading)} on "
                "this machine; preparing takes at least that."
            ]
        second = self._sample(_SAMPLES[1])
        total = self.splits.train + self.splits.validation + self.splits.test
        a_split = [
            sum(
                min(self.splits.size(split), number)
                for split in ("train", "validation", "test")
            )
            for number in _SAMPLES
        ]
        more = max(1, a_split[1] - a_split[0])
        seconds = first + max(0.0, second - first) / more * max(0, total - a_split[0])
        return [
            f"{said} Estimated time for all: {_readable(max(seconds, reading))} on this "
            f"machine (reading the raw files alone: {_readable(reading)})."
        ]

    def _sample(self, number: int) -> float:
        """Seconds that a partial copy takes, on the disk of the prepared data."""
        parent = self.folder.parent
        with writing_to(parent):
            parent.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.TemporaryDirectory(prefix=".check-", dir=parent)
        with temporary as place:
            begin = self.now()
            with Preparation(
                Path(place) / self.folder.name,
                dataset=self.dataset,
                format_version=self.module.FORMAT_VERSION,
                subset=number,
            ) as preparation:
                self.module.prepare(
                    self.raw,
                    preparation,
                    splits=self.splits,
                    subset=number,
                    progress=self.progress,
                )
            return self.now() - begin

    def _reading_seconds(self, files: list[input_files.Entry]) -> float:
        """How long reading all files takes, from the first bytes of the largest one."""
        largest = max(files, key=lambda entry: entry.size_bytes)
        done, begin = 0, self.now()
        with input_files.opened(largest.path) as file:
            while done < _READ_BYTES and (block := file.read(1 << 20)):
                done += len(block)
        seconds = self.now() - begin
        total = sum(entry.size_bytes for entry in files)
        return seconds * total / max(1, done)


def _readable(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
