"""The folder of prepared data that every data set uses: its writer and its reader.

A folder holds parts (files of the data set's own format) and, once everything is there,
a `manifest.json` that names them with sizes and checksums, and counts the examples of
each split. Until then finished parts stand in a journal, so that a preparation that was
killed resumes with the next part. What a part holds is up to
`datasets/<name>/`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, checksum, no_progress
from algoperf.errors import BadData, near
from algoperf.manifest import MANIFEST, OPTIONS, Manifest, listed, prepare_command
from algoperf.pipeline import DataRequest
from algoperf.preparation import Preparation

__all__ = ["MANIFEST", "Preparation", "PreparedData"]

_PREPARED_SPLITS = ("train", "validation", "test")  # eval_train is drawn from train


class Reader(Protocol):
    """What a data set's reader says of itself: constants of the module."""

    DATASET: str
    FORMAT_VERSION: int


class PreparedData:
    """A finished folder of prepared data. Opened with `PreparedData.open`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        dataset: str,
        format_version: int | None = None,
        splits: Splits | None = None,
        allow_partial: bool = False,
        verify: bool = False,
    ) -> "PreparedData":
        """The prepared data in `folder`, checked; `BadData` with the remedy if bad.

        splits: the definition's; the copy must have exactly these numbers of examples.
        A partial copy (`--subset`) is refused unless allowed, or unless `splits` are
        its own numbers (see `splits_like`): then the caller knows. verify: also
        compares checksums.
        """
        remedy = f"Run {prepare_command(folder)}."
        if not input_files.is_folder(folder):
            raise BadData(f"{dataset} is not prepared: no folder {folder}. {remedy}")
        if not input_files.is_file(folder / MANIFEST):
            raise BadData(
                f"{folder} has no {MANIFEST}: its preparation was not finished, or it "
                f"is not prepared data. {remedy} It resumes where it stopped."
            )
        data = cls(folder, Manifest.read(folder / MANIFEST))
        data._check_format(dataset, format_version)
        data._check_counts(splits, allow_partial)
        data._check_sizes()
        if verify:
            data.verify()
        return data

    @classmethod
    def requested(cls, request: DataRequest, reader: Reader) -> "PreparedData":
        """The data that batches are asked of; reader: the data set's, which reads it."""
        return cls.open(
            request.folder,
            dataset=reader.DATASET,
            format_version=reader.FORMAT_VERSION,
            splits=request.splits,
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of examples by split."""
        return self.manifest.counts

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the preparation noted for the reader."""
        return self.manifest.facts

    @property
    def is_partial(self) -> bool:
        """Whether this is a copy made with `--subset`."""
        return self.manifest.subset is not None

    @property
    def command(self) -> str:
        """The complete command that prepares this very copy, in backquotes."""
        given = self.facts.get(OPTIONS)
        options = given if isinstance(given, dict) else {}
        return prepare_command(self.folder, self.manifest.subset, options)

    def fact(self, name: str, kind: type) -> Any:
        """A fact that the reader cannot do without: a `kind`; numbers 0 to 2^31."""
        value = self.facts.get(name)
        if isinstance(value, kind) and (kind is not int or value in range(2**31)):
            return value
        raise BadData(
            f"{self.folder / MANIFEST}: {name!r} is {value!r:.40}, which preparing did "
            f"not write. Delete the folder and run {self.command}."
        )

    def parts(self, fact: str, split: Split | None = None) -> list[str]:
        """The names of files that a fact lists, for all splits or for one."""
        found = self.fact(fact, list if split is None else dict)
        names = found if split is None else found.get(split)
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return [
                self.path(name).relative_to(self.folder).as_posix() for name in names
            ]
        raise BadData(
            f"{self.folder / MANIFEST}: {fact!r} does not list files, which preparing "
            f"did not write. Delete the folder and run {self.command}."
        )

    def array(self, name: str) -> np.ndarray:
        """The array in the `.npy` file `name`, mapped: read where it is used."""
        path = self.path(name)
        with input_files.reading(path, self.rewrite(name)):
            try:
                # A plain view of the mapped file: np.memmap's own indexing is slower.
                return np.asarray(np.lib.format.open_memmap(path, mode="r"))
            except OSError:
                raise
            except Exception as error:  # numpy raises anything for a damaged header
                raise self.damaged(name, input_files.in_one_line(error)) from error

    def rewrite(self, name: str) -> str:
        """What to do about a damaged file `name`."""
        return (
            f"Delete {self.folder / name} (if it is there) and run {self.command} again; "
            "it writes this part anew."
        )

    def damaged(self, name: str, reason: str) -> BadData:
        """The error for a file whose content is wrong."""
        return BadData(
            f"{self.folder / name} is damaged ({reason}). {self.rewrite(name)}"
        )

    def incomplete(self, split: Split, what: str) -> BadData:
        """The error for files that do not hold the examples that the manifest promises."""
        return BadData(
            f"{self.folder}: the {split} files do not hold the "
            f"{self.counts[split]:,} {what} that the manifest promises. Delete the folder "
            f"and run {self.command}."
        )

    def unfit(self, found: str) -> BadData:
        """The error for data of another kind than the workload's; found: what they are."""
        return BadData(
            f"{self.folder} {found}. The raw files were not the expected ones. Delete the "
            f"folder and run {self.command} with the right ones."
        )

    def path(self, name: str) -> Path:
        """The file `name` of the data."""
        if name not in self.manifest.files:
            raise BadData(
                f"{self.folder} has no part {name!r}."
                f"{near(name, self.manifest.files)} Delete the folder and run "
                f"{self.command}."
            )
        return self.folder / name

    def splits_like(self, splits: Splits) -> Splits:
        """`splits` with this copy's numbers, for runs that accept a partial copy."""
        train = self.counts["train"]
        return Splits(
            train=train,
            eval_train=min(splits.eval_train, train),
            validation=self.counts["validation"],
            test=self.counts["test"],
        )

    def verify(self, progress: Progress = no_progress) -> None:
        """Compares the checksum of every file; `BadData` names the first bad one."""
        for name, part in self.manifest.files.items():
            if checksum(self.folder / name, progress=progress) != part.sha256:
                raise BadData(
                    f"{self.folder / name} is damaged: its checksum is not the one it "
                    f"was written with. Delete that file and run {self.command} again; "
                    "it writes this part anew."
                )

    def _check_format(self, dataset: str, format_version: int | None) -> None:
        found = self.manifest
        if found.dataset != dataset:
            raise BadData(
                f"{self.folder} holds data set {found.dataset!r}, not {dataset!r}. "
                "Check the data directory."
            )
        if format_version not in (None, found.format_version):
            raise BadData(
                f"{self.folder} has format version {found.format_version} of "
                f"{dataset}; this version of algoperf reads {format_version}. Delete "
                f"the folder and run {prepare_command(self.folder)}."
            )

    def _check_counts(self, splits: Splits | None, allow_partial: bool) -> None:
        expected = dataclasses.asdict(splits) if splits else dict(self.counts)
        fits = all(self.counts.get(s) == expected.get(s) for s in _PREPARED_SPLITS)
        if self.is_partial and not allow_partial and not (splits and fits):
            raise BadData(
                f"{self.folder} is a partial copy (--subset {self.manifest.subset}), "
                "which a scored run may not use. Delete the folder and run "
                f"{prepare_command(self.folder)}."
            )
        if not self.is_partial and not fits:
            numbers = {split: expected.get(split) for split in _PREPARED_SPLITS}
            raise self.unfit(
                f"has {listed(self.counts)} examples; the workload needs "
                f"{listed(numbers)}"
            )

    def _check_sizes(self) -> None:
        for name, part in self.manifest.files.items():
            found = input_files.size_or_none(self.folder / name)
            if found != part.size_bytes:
                state = "is missing" if found is None else f"has {found:,} bytes"
                raise BadData(
                    f"{self.folder / name} {state}; {part.size_bytes:,} bytes are "
                    f"expected. Run {self.command} again; it writes this part anew."
                )
