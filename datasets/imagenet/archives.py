"""The official raw files of ImageNet: which images they hold, of which classes, and where.

Tar files are read in place, never unpacked: only their headers are walked through, and
each image is then read from its offset. Unpacked folders serve as well.
"""

import contextlib
import dataclasses
import gzip
import io
import itertools
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from algoperf.errors import BadData, MissingDependency, near

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
SYNSETS = "imagenet_2012_validation_synset_labels.txt"
TEST = "imagenetv2-matched-frequency.tar.gz"
TEST_FOLDER = "imagenetv2-matched-frequency-format-val"
TEST_NAMES = (TEST, TEST.removesuffix(".gz"), TEST_FOLDER)
TRAIN_FOLDER, VALIDATION_FOLDER = "train", "val"

RAW_HELP = f"""\
ImageNet needs a login: sign up at https://image-net.org/download-images.php (research
only) and get ILSVRC2012's
  {TRAIN} (138 GB, md5 1d675b47d978889d74fa0da5fadfb00e), or the folder
    {TRAIN_FOLDER}/ with a folder n01440764/ ... of images, or a tar file, for each class
  {VALIDATION} (6.3 GB, md5 29b22e2961454d5413ddabcf34fc5622) with
    {DEVKIT} (its labels), or a text file
    {SYNSETS} (a class name such as n01440764 on
    each line, in the order of the images); or the folder {VALIDATION_FOLDER}/n01440764/ ...
and ImageNet-v2 (MIT licence), from https://github.com/modestyachts/ImageNetV2,
  {TEST} (1.2 GB) or its unpacked
    {TEST_FOLDER}/"""

_WNID = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"\d+")
_VALIDATION_NUMBER = re.compile(r"_(\d+)\.[^.]+$")
_GET_AGAIN = "Get the official file again."


@dataclass(frozen=True, slots=True)  # there are over a million
class RawImage:
    """An image in a tar file, or in a file of its own (`offset` 0)."""

    name: str
    class_name: str
    path: Path
    offset: int
    size: int  # bytes
    unpacked: BinaryIO | None = None  # the content of `path` if that is packed

    def read(self) -> bytes:
        """Its bytes."""
        if self.unpacked is not None:
            return os.pread(self.unpacked.fileno(), self.size, self.offset)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            return file.read(self.size)

    @property
    def shown(self) -> str:
        """Its name for people."""
        if self.path.name == self.name:
            return str(self.path)
        return f"{self.path}, image {self.name} of class {self.class_name}"


class RawFiles:
    """The folder of raw files. What is unpacked on the way lasts as long as `stack`."""

    def __init__(self, raw: Path, stack: contextlib.ExitStack) -> None:
        if not raw.is_dir():
            raise BadData(f"There is no folder {raw} with raw files.\n{RAW_HELP}")
        self._raw = raw
        self._stack = stack

    def find(self, *names: str) -> Path:
        """The first of these files or folders that is there."""
        for name in names:
            if (self._raw / name).exists():
                return self._raw / name
        there = sorted(path.name for path in self._raw.iterdir())
        hint = near(names[0], [name for name in there if name not in names])
        raise BadData(
            f"{self._raw} has no {' or '.join(names)}.{hint} It has: "
            f"{', '.join(there[:10]) or 'nothing'}.\n{RAW_HELP}"
        )

    def train(self) -> list[RawImage]:
        """All training images, sorted by class and name."""
        path = self.find(TRAIN, TRAIN_FOLDER)
        if path.is_file():
            found = _in_tar_of_tars(path)
        elif tars := sorted(path.glob("*.tar")):
            found = []
            for tar in tars:
                with tar.open("rb", buffering=0) as file:
                    found += _in_class_tar(tar, file, _class_of(tar.name, path))
        else:
            found = _in_class_folders(path, _WNID)
        return _checked(found, path)

    def validation(self) -> list[RawImage]:
        """All validation images, sorted by name (in an unpacked folder, by file name)."""
        path = self.find(VALIDATION, VALIDATION_FOLDER)
        if path.is_dir():
            found = _in_class_folders(path, _WNID)
            return sorted(found, key=lambda image: image.name)
        labels_path = self.find(DEVKIT, SYNSETS)
        is_text = labels_path.name == SYNSETS
        labels = read_synsets(labels_path) if is_text else read_devkit(labels_path)
        numbered = {}
        with path.open("rb", buffering=0) as file, _open_tar(path, file) as tar:
            for member in _members(path, tar):
                name = Path(member.name).name
                match = _VALIDATION_NUMBER.search(name)
                if match is None:
                    raise BadData(
                        f"{path} holds {member.name}; names such as "
                        f"ILSVRC2012_val_00000001.JPEG are expected. {_GET_AGAIN}"
                    )
                numbered[int(match[1])] = (name, member)
        _check_numbers(path, list(numbered), labels_path, len(labels))
        return [
            RawImage(name, labels[number - 1], path, member.offset_data, member.size)
            for number, (name, member) in sorted(numbered.items())
        ]

    def test(self, class_names: Sequence[str], scratch: Path) -> list[RawImage]:
        """All test images, sorted by class and name. Their classes have numbers, which
        count `class_names`.

        A packed file is unpacked to a nameless one in the folder `scratch`.
        """
        path = self.find(*TEST_NAMES)
        if path.is_dir():
            found = _in_class_folders(path, _NUMBER)
        elif path.suffix == ".gz":
            unpacked = self._unpacked(path, scratch)
            found = _in_numbered_tar(path, unpacked)
            found = [dataclasses.replace(image, unpacked=unpacked) for image in found]
        else:
            with path.open("rb", buffering=0) as file:
                found = _in_numbered_tar(path, file)
        numbers = {image.class_name for image in found}
        expected = {str(number) for number in range(len(class_names))}
        if numbers != expected:
            odd = min(numbers ^ expected, key=int)
            state = (
                "has no images of" if odd in expected else "has images of an unknown"
            )
            raise BadData(
                f"{path} {state} class {odd}; classes 0 to {len(class_names) - 1} are "
                f"expected, as many as in the training images. {_GET_AGAIN}"
            )
        found.sort(key=lambda image: (int(image.class_name), image.name))
        return [
            dataclasses.replace(image, class_name=class_names[int(image.class_name)])
            for image in found
        ]

    def _unpacked(self, path: Path, scratch: Path) -> BinaryIO:
        file = self._stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115
        try:
            with gzip.open(path, "rb") as packed:
                shutil.copyfileobj(packed, file, 1 << 20)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadData(f"{path} is damaged ({error}). {_GET_AGAIN}") from error
        file.flush()
        return file


@contextlib.contextmanager
def _open_tar(path: Path, file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """A tar file that lies open; what is wrong with it is a `BadData`."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise BadData(
            f"{path} is damaged or cut off ({error}). {_GET_AGAIN}"
        ) from error


def _members(path: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files in a tar file."""
    for member in tar:
        if member.isdir():
            continue
        if not member.isreg():
            raise BadData(f"{path}: {member.name} is no plain file. {_GET_AGAIN}")
        yield member


def _in_tar_of_tars(path: Path) -> list[RawImage]:
    """The images of a tar file of the classes' tar files."""
    found = []
    with path.open("rb", buffering=0) as file, _open_tar(path, file) as outer:
        for member in _members(path, outer):
            class_name = _class_of(member.name, path)
            inner = outer.extractfile(member)
            assert inner is not None  # it is a regular file
            found += _in_class_tar(path, inner, class_name, member.offset_data)
    return found


def _class_of(tar_name: str, where: Path) -> str:
    class_name, _, suffix = Path(tar_name).name.partition(".")
    if suffix != "tar" or not _WNID.fullmatch(class_name):
        raise BadData(
            f"{where} holds {tar_name}; only tar files of classes, such as "
            f"n01440764.tar, are expected. {_GET_AGAIN}"
        )
    return class_name


def _in_class_tar(
    path: Path, content: IO[bytes], class_name: str, start: int = 0
) -> list[RawImage]:
    """The images of a class's tar file, which begins at byte `start` of `path`."""
    with _open_tar(path, content) as tar:
        found = [
            RawImage(
                Path(member.name).name,
                class_name,
                path,
                start + member.offset_data,
                member.size,
            )
            for member in _members(path, tar)
        ]
    if not found:
        raise BadData(
            f"{path}: class {class_name} has no images, so the numbers of the classes "
            f"would shift. {_GET_AGAIN}"
        )
    return found


def _in_numbered_tar(path: Path, file: IO[bytes]) -> list[RawImage]:
    """The images of a tar file of folders with numbers."""
    found = []
    with _open_tar(path, file) as tar:
        for member in _members(path, tar):
            *_, folder, name = ("", *Path(member.name).parts)
            if not _NUMBER.fullmatch(folder):
                raise BadData(
                    f"{path} holds {member.name}; images in folders 0, 1, ... are "
                    f"expected. {_GET_AGAIN}"
                )
            found.append(RawImage(name, folder, path, member.offset_data, member.size))
    return found


def _in_class_folders(folder: Path, names: re.Pattern[str]) -> list[RawImage]:
    """The images in a folder of class folders, sorted by class and name."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_dir() or not names.fullmatch(entry.name):
            raise BadData(
                f"{entry.path} is no folder of a class. Move it away, or check that "
                f"{folder} is the right folder."
            )
        images = sorted(os.scandir(entry.path), key=lambda image: image.name)
        if not images:
            raise BadData(
                f"{entry.path} has no images: every class must have some, or the numbers "
                "of the classes would shift. Unpack that class again."
            )
        for image in images:
            size = image.stat().st_size
            found.append(RawImage(image.name, entry.name, Path(image.path), 0, size))
    return found


def _checked(found: list[RawImage], path: Path) -> list[RawImage]:
    """Sorted by class and name; none may be there twice, or under another class."""
    found.sort(key=lambda image: (image.class_name, image.name))
    for image in found:
        if not image.name.startswith(f"{image.class_name}_"):
            raise BadData(
                f"{image.shown} does not have the name of such an image, "
                f"{image.class_name}_... Was its class renamed? {_GET_AGAIN}"
            )
    for one, other in itertools.pairwise(found):
        if (one.class_name, one.name) == (other.class_name, other.name):
            raise BadData(f"{path} holds {one.shown} twice. {_GET_AGAIN}")
    return found


def _check_numbers(
    path: Path, numbers: list[int], labels_path: Path, num_labels: int
) -> None:
    missing = set(range(1, num_labels + 1)) - set(numbers)
    if missing:
        raise BadData(
            f"{path} has no image number {min(missing)}, but {labels_path} has "
            f"{num_labels:,} labels. They do not belong together, or the images are not "
            "whole: get both official files again."
        )
    if len(numbers) > num_labels:
        raise BadData(
            f"{path} has image number {max(numbers)}, but {labels_path} has "
            f"{num_labels:,} labels: get both official files again."
        )


def read_synsets(path: Path) -> list[str]:
    """The class name on each line of a text file."""
    names = path.read_text("utf-8", "replace").split("\n")
    if names[-1] == "":
        names.pop()
    for row, name in enumerate(names, 1):
        if not _WNID.fullmatch(name.strip()):
            raise BadData(
                f"{path}, line {row:,} is {name[:40]!r}; a class name such as n01440764 "
                "is expected."
            )
    return [name.strip() for name in names]


def read_devkit(path: Path) -> list[str]:
    """The class name of each validation image, from the official development kit.

    It numbers them by its own table of classes, in MATLAB's format.
    """
    try:
        with tarfile.open(path) as tar:
            table = _devkit_file(path, tar, "meta.mat").read()
            lines = _devkit_file(path, tar, "ILSVRC2012_validation_ground_truth.txt")
            text = lines.read().decode("ascii", "replace")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadData(f"{path} is damaged ({error}). {_GET_AGAIN}") from error
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
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError:
        raise MissingDependency(
            f"{path} is read with the package scipy, which is not installed. Run "
            '`pip install "algoperf[data]"`.'
        ) from None
    load: Callable[..., dict[str, Sequence]] = loadmat
    try:
        synsets = load(io.BytesIO(table), squeeze_me=True, struct_as_record=False)
        return {int(s.ILSVRC2012_ID): str(s.WNID) for s in synsets["synsets"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadData(
            f"{path}: its meta.mat is damaged ({error}). {_GET_AGAIN}"
        ) from error
