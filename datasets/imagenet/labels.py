"""The official labels of the validation images: a text file, or the development kit."""

import io
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from algoperf import input_files, packages
from algoperf.errors import BadData

WNID = re.compile(r"n\d{8}")  # the name of a class
_GET_AGAIN = "Get the official file again."
_MAX_TEXT_BYTES = 100_000_000  # of a list of labels: what is larger is none


def read_synsets(path: Path) -> list[str]:
    """The class name on each line of a text file."""
    with input_files.opened(path) as file:
        names = file.read(_MAX_TEXT_BYTES).decode("utf-8-sig", "replace").split("\n")
    while names and not names[-1].strip():
        names.pop()
    for row, name in enumerate(names, 1):
        if not WNID.fullmatch(name.strip()):
            raise BadData(
                f"{path}, line {row:,} is {name[:40]!r}; a class name such as n01440764 "
                "is expected."
            )
    return [name.strip() for name in names]


def read_devkit(path: Path) -> list[str]:
    """The class name of each validation image, from the official development kit.

    It numbers them by its own table of classes, in MATLAB's format.
    """
    with input_files.opened(path) as file, tarfile.open(fileobj=file) as tar:
        table = _devkit_file(path, tar, "meta.mat").read(_MAX_TEXT_BYTES)
        lines = _devkit_file(path, tar, "ILSVRC2012_validation_ground_truth.txt")
        text = lines.read(_MAX_TEXT_BYTES).decode("ascii", "replace")
    names = _devkit_names(path, table)
    labels = []
    for row, line in enumerate(text.split(), 1):
        name = names.get(int(line)) if line.isdigit() else None
        if name is None:
            raise BadData(
                f"{path}: line {row:,} of the ground truth is {line!r}; the number of a "
                f"class is expected. {_GET_AGAIN}"
            )
        labels.append(name)
    return labels


def _devkit_file(path: Path, tar: tarfile.TarFile, name: str) -> BinaryIO:
    for member in tar:
        if Path(member.name).name == name and member.isreg():
            file = tar.extractfile(member)
            assert file is not None  # it is a regular file
            return file  # type: ignore[return-value]
    raise BadData(f"{path} has no file {name}. {_GET_AGAIN}")


def _devkit_names(path: Path, table: bytes) -> dict[int, str]:
    """Class names by the kit's numbers."""
    scipy_io = packages.load("scipy.io", f"Reading {path}")
    load: Callable[..., dict[str, Sequence[Any]]] = scipy_io.loadmat
    try:
        synsets = load(io.BytesIO(table), squeeze_me=True, struct_as_record=False)
        return {int(s.ILSVRC2012_ID): str(s.WNID) for s in synsets["synsets"]}
    except Exception as error:  # scipy raises anything for damaged files
        raise BadData(
            f"{path}: its meta.mat is damaged ({input_files.in_one_line(error)}). {_GET_AGAIN}"
        ) from error
