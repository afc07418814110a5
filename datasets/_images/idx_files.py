"""The four IDX files of MNIST and of data sets that were made to replace it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from algoperf import input_files
from algoperf.errors import BadData

from . import idx
from .stored import KINDS, LabelledImages
from .writing import Official, RawFile

_PREFIXES: Mapping[RawFile, str] = {"train": "train", "test": "t10k"}
NAMES: Mapping[tuple[RawFile, str], str] = {
    (file, kind): f"{prefix}-{kind}-idx{axes}-ubyte"
    for file, prefix in _PREFIXES.items()
    for kind, axes in (("images", 3), ("labels", 1))
}
_EXPECTED = {*NAMES.values(), *(f"{name}.gz" for name in NAMES.values())}


@dataclass(frozen=True)
class IdxFiles:
    """Four files in a folder, gzip-packed or not. raw_help: where to get them."""

    folder: Path
    official: Official
    raw_help: str

    def sizes(self) -> dict[str, int]:
        """Names of the raw files and their sizes in bytes."""
        paths = [self._find(*key) for key in NAMES]
        return {path.name: path.stat().st_size for path in paths}

    def shown(self, file: RawFile) -> Path:
        """The path that messages name."""
        return self._find(file, "images")

    def count(self, file: RawFile) -> int:
        """Number of images, from the header."""
        return idx.read_count(self._find(file, "images"), "images")

    def read(self, file: RawFile) -> LabelledImages:
        """Images uint8 [n, 28, 28] and labels uint8 [n]."""
        paths = {kind: self._find(file, kind) for kind in KINDS}
        arrays = {kind: idx.read(path, kind) for kind, path in paths.items()}
        if len(arrays["images"]) != len(arrays["labels"]):
            raise BadData(
                f"{paths['images']} has {len(arrays['images']):,} images, but "
                f"{paths['labels']} has {len(arrays['labels']):,} labels. They do not "
                "belong together: get both official files again."
            )
        return LabelledImages(**arrays)

    def _find(self, file: RawFile, kind: str) -> Path:
        input_files.check_raw_folder(self.folder, self.raw_help)
        name = NAMES[file, kind]
        found = input_files.first_of(self.folder, f"{name}.gz", name)
        if found is not None and not found.is_folder:
            return found.path
        lacks = f"no file {name}.gz"
        raise input_files.not_found(
            self.folder, lacks, self.raw_help, name=name, expected=_EXPECTED
        )


def copy_embedded(embedded: Path, raw: Path) -> None:
    """Copies the shipped files to where raw files are looked for."""
    raw.mkdir(parents=True, exist_ok=True)
    for path in embedded.glob("*.gz"):
        shutil.copyfile(path, raw / path.name)
