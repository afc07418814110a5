"""WMT as tensorflow-datasets stores it: pairs of sentences, and its order of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from algoperf.definition import Split
from algoperf.download import Progress, no_progress
from algoperf.errors import BadData
from algoperf.tfds import TfdsFolder

TRAIN, EVALUATION = "wmt17_translate/de-en", "wmt14_translate/de-en"
_NAMES: Mapping[Split, str] = {
    "train": TRAIN,
    "validation": EVALUATION,
    "test": EVALUATION,
}


class StoredPairs:
    """Two data sets of tensorflow-datasets; offers what `corpora.RawFiles` offers."""

    def __init__(self, folders: Mapping[str, TfdsFolder]) -> None:
        for folder in folders.values():
            folder.check_packages()
        self._folders = {split: folders[name] for split, name in _NAMES.items()}

    def verify(self, progress: Progress = no_progress) -> None:
        """Nothing: every record is compared with its checksum when it is read."""

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is used, by name."""
        return {
            name: size
            for split, folder in self._folders.items()
            for name, size in folder.sizes(split).items()
        }

    def pairs(self, split: Split) -> Iterator[tuple[str, str]]:
        """German and English, in the stored order."""
        for example in self._folders[split].examples(split):
            yield example.text("de"), example.text("en")

    def order(self, split: Split) -> np.ndarray:
        """Places of the pairs in the prepared order: as they are, int64 [pairs]."""
        return np.arange(self._folders[split].count(split))


def find(raw: Path) -> StoredPairs | None:
    """The pairs below a folder of tensorflow-datasets; None if it is none."""
    found = {name: TfdsFolder.find(raw, name) for name in (TRAIN, EVALUATION)}
    there = {name: folder for name, folder in found.items() if folder is not None}
    if not there:
        return None
    for name in found.keys() - there:
        raise BadData(
            f"{raw} has {next(iter(there))} but no {name}, or none that is finished. Let "
            "tensorflow-datasets prepare both: the one is for training, the other for "
            "validation and test."
        )
    return StoredPairs(there)
