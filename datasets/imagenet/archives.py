"""The official raw files of ImageNet: which images they hold, of which classes, and where.

Tar files are read in place, never unpacked: only their headers are walked through, and
each image is then read from its offset. Unpacked folders serve as well.
"""

import contextlib
import dataclasses
import gzip
import itertools
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, TypeVar

from algoperf import input_files, packages
from algoperf.definition import Split
from algoperf.download import Progress, checksum, no_progress
from algoperf.errors import BadData
from algoperf.tfds import TfdsFolder

from . import stored
from .images import AnyImage
from .labels import WNID as _WNID
from .labels import read_devkit, read_synsets

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
SYNSETS = "imagenet_2012_validation_synset_labels.txt"
TEST = "imagenetv2-matched-frequency.tar.gz"
TEST_FOLDER = "imagenetv2-matched-frequency-format-val"
TEST_NAMES = (TEST, TEST.removesuffix(".gz"), TEST_FOLDER)
TRAIN_FOLDER, VALIDATION_FOLDER = "train", "val"
MD5 = {  # as published on the download page
    TRAIN: "1d675b47d978889d74fa0da5fadfb00e",
    VALIDATION: "29b22e2961454d5413ddabcf34fc5622",
}
# Of files with other numbers of images the sums cannot be right, as of the shipped ones.
OFFICIAL_COUNTS = {"train": 1_281_167, "validation": 50_000}

RAW_HELP = f"""\
ImageNet needs a login: sign up at https://image-net.org/download-images.php (research
only) and get ILSVRC2012's
  {TRAIN} (138 GB, md5 {MD5[TRAIN]}), or the folder
    {TRAIN_FOLDER}/ with a folder n01440764/ ... of images, or a tar file, for each class
  {VALIDATION} (6.3 GB, md5 {MD5[VALIDATION]}) with
    {DEVKIT} (its labels), or a text file
    {SYNSETS} (a class name such as n01440764 on
    each line, in the order of the images); or the folder {VALIDATION_FOLDER}/n01440764/ ...
and ImageNet-v2 (MIT licence), from https://github.com/modestyachts/ImageNetV2,
  {TEST} (1.2 GB) or its unpacked
    {TEST_FOLDER}/"""

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
        with input_files.reading(self.path), self.path.open("rb", buffering=0) as file:
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

    def __init__(
        self,
        raw: Path,
        stack: contextlib.ExitStack,
        progress: Progress = no_progress,
    ) -> None:
        input_files.check_raw_folder(raw, RAW_HELP)
        self._raw = raw
        self._stack = stack
        self._progress = progress
        self._ilsvrc2012 = TfdsFolder.find(raw, stored.ILSVRC2012)
        self._v2 = stored.find_v2(raw)

    def find(self, *names: str) -> input_files.Entry:
        """The first of these files or folders that is there."""
        found = input_files.first_of(self._raw, *names)
        if found is None:
            lacks = f"no {' or '.join(names)}"
            raise input_files.not_found(
                self._raw, lacks, RAW_HELP, name=names[0], expected=names
            )
        return found

    def size_bytes(self, split: Split) -> int:
        """Size of the files of one split."""
        folder = self._v2 if split == "test" else self._ilsvrc2012
        if folder is not None:
            return folder.size_bytes(split)
        names: dict[str, tuple[str, ...]] = {
            "train": (TRAIN, TRAIN_FOLDER),
            "validation": (VALIDATION, VALIDATION_FOLDER),
            "test": TEST_NAMES,
        }
        return input_files.size_bytes(self.find(*names[split]).path)

    def check_packages(self) -> None:
        """`MissingDependency` where the labels of validation need a package."""
        for folder in (self._ilsvrc2012, self._v2):
            if folder is not None:
                folder.check_packages()
        if self._ilsvrc2012 is not None:
            return
        if self.find(VALIDATION, VALIDATION_FOLDER).is_folder:
            return
        if self.find(DEVKIT, SYNSETS).path.name == DEVKIT:
            packages.check(("scipy",), f"Reading {DEVKIT}")

    def check_md5(
        self, kind: Literal["train", "validation"], progress: Progress
    ) -> None:
        """`BadData` for a tar file that is not the official one."""
        name = TRAIN if kind == "train" else VALIDATION
        path = self._raw / name
        if not input_files.is_file(path):
            return  # unpacked
        found = checksum(path, "md5", progress)
        if found != MD5[name]:
            raise BadData(
                f"{path} has the md5 checksum {found}; {MD5[name]} is expected. "
                f"{input_files.GET_AGAIN}"
            )

    def train(self) -> Sequence[AnyImage]:
        """All training images, sorted by class and name."""
        if self._ilsvrc2012 is not None:
            images = stored.ilsvrc2012(self._ilsvrc2012, "train", self._progress)
            return _checked(images, self._ilsvrc2012.path)
        path, is_folder, _ = self.find(TRAIN, TRAIN_FOLDER)
        if not is_folder:
            return _checked(_in_tar_of_tars(path), path)
        inside = (entry.path for entry in input_files.entries(path))
        tars = [tar for tar in inside if tar.suffix.lower() == ".tar"]
        if not tars:
            return _checked(_in_class_folders(path, _WNID), path)
        found: list[RawImage] = []
        for tar in tars:
            with input_files.opened(tar, buffering=0) as file:
                found += _in_class_tar(tar, file, _class_of(tar.name, path))
        return _checked(found, path)

    def validation(self) -> Sequence[AnyImage]:
        """All validation images, sorted by name (in an unpacked folder, by file name)."""
        if self._ilsvrc2012 is not None:
            images = stored.ilsvrc2012(self._ilsvrc2012, "validation", self._progress)
            return sorted(images, key=lambda image: image.name)
        path, is_folder, _ = self.find(VALIDATION, VALIDATION_FOLDER)
        if is_folder:
            found = _in_class_folders(path, _WNID)
            return sorted(found, key=lambda image: image.name)
        labels_path = self.find(DEVKIT, SYNSETS).path
        is_text = labels_path.name == SYNSETS
        labels = read_synsets(labels_path) if is_text else read_devkit(labels_path)
        numbered = {}
        with (
            input_files.opened(path, buffering=0) as file,
            _open_tar(path, file) as tar,
        ):
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

    def test(self, class_names: Sequence[str], scratch: Path) -> Sequence[AnyImage]:
        """All test images, sorted by class and name. Their classes have numbers, which
        count `class_names`.

        A packed file is unpacked to a nameless one in the folder `scratch`.
        """
        if self._v2 is not None:
            images = stored.v2(self._v2, self._progress)
            return _named(images, class_names, self._v2.path)
        path, is_folder, _ = self.find(*TEST_NAMES)
        if is_folder:
            found = _in_class_folders(path, _NUMBER)
        elif path.suffix == ".gz":
            unpacked = self._unpacked(path, scratch)
            found = _in_numbered_tar(path, unpacked)
            found = [dataclasses.replace(image, unpacked=unpacked) for image in found]
        else:
            with input_files.opened(path, buffering=0) as file:
                found = _in_numbered_tar(path, file)
        return _named(found, class_names, path)

    def _unpacked(self, path: Path, scratch: Path) -> BinaryIO:
        file = self._stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115
        with input_files.opened(path) as packed, gzip.open(packed) as content:
            shutil.copyfileobj(content, file, 1 << 20)
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
    """The files in a tar file, litter left out."""
    for member in tar:
        if member.isdir() or input_files.is_litter(member.name):
            continue
        if not member.isreg():
            raise BadData(f"{path}: {member.name} is no plain file. {_GET_AGAIN}")
        yield member


def _in_tar_of_tars(path: Path) -> list[RawImage]:
    """The images of a tar file of the classes' tar files."""
    found = []
    with input_files.opened(path, buffering=0) as file, _open_tar(path, file) as outer:
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
    for path, is_folder, _ in input_files.entries(folder):
        if not is_folder or not names.fullmatch(path.name):
            raise BadData(
                f"{path} is no folder of a class. Move it away, or check that "
                f"{folder} is the right folder."
            )
        images = input_files.entries(path)
        if not images:
            raise BadData(
                f"{path} has no images: every class must have some, or the numbers "
                "of the classes would shift. Unpack that class again."
            )
        for image in images:
            if image.is_folder:
                raise BadData(
                    f"{image.path} is a folder; only images are expected there. Move it "
                    "away."
                )
            name = image.path.name
            found.append(RawImage(name, path.name, image.path, 0, image.size_bytes))
    return found


_Image = TypeVar("_Image", RawImage, stored.StoredImage)


def _named(found: list[_Image], class_names: Sequence[str], path: Path) -> list[_Image]:
    """Images of numbered classes, sorted by number and name, with the classes' names."""
    numbers = {image.class_name for image in found}
    expected = {str(number) for number in range(len(class_names))}
    if numbers != expected:
        odd = min(numbers ^ expected, key=int)
        state = "has no images of" if odd in expected else "has images of an unknown"
        raise BadData(
            f"{path} {state} class {odd}; classes 0 to {len(class_names) - 1} are "
            f"expected, as many as in the training images. {_GET_AGAIN}"
        )
    found.sort(key=lambda image: (int(image.class_name), image.name))
    return [
        dataclasses.replace(image, class_name=class_names[int(image.class_name)])
        for image in found
    ]


def _checked(found: list[_Image], path: Path) -> list[_Image]:
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
