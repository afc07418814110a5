"""Raw official fastMRI volumes -> slices that are half transformed.

The names that every data set's prepare.py has are explained in
`datasets/mnist/prepare.py`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import scans, volumes
from .reader import FORMAT_VERSION, SLICE, SPLITS, part_name, slice_size, table_name
from .volumes import Volume

__all__ = [
    "FORMAT_VERSION",
    "PACKAGES",
    "PUBLISHED",
    "RAW_HELP",
    "expand_embedded",
    "prepare",
    "space_needed",
]

PACKAGES = ("h5py",)
PUBLISHED = ("fastmri",)

RAW_HELP = """\
fastMRI, knee, single-coil: two folders of HDF5 files, one file a volume,
  knee_singlecoil_train (973 files)   knee_singlecoil_val (199 files)
(also named singlecoil_train and singlecoil_val). Fill in the form at
https://fastmri.med.nyu.edu, accept NYU Langone's data sharing agreement, fetch
knee_singlecoil_train and knee_singlecoil_val with the links that are sent by e-mail
(about 90 GB; the links expire), and unpack both into one folder. The official test
folder is not needed. The data may not be handed on."""

_FOLDERS = {
    "train": ("knee_singlecoil_train", "singlecoil_train"),
    "val": ("knee_singlecoil_val", "singlecoil_val"),
}
_VOLUMES_PER_PART = 32  # about 1.6 GB, which a preparation that is killed does again
# Official number of slices, all of them with the usual 372 columns of 320 rows.
_FULL_BYTES = 41_877 * 4 * slice_size(372, 320)
_EMBEDDED = Path(__file__).parent / "embedded"


def expand_embedded(raw: Path) -> None:
    """Writes simulated scans of a real brain in the official layout, 64 x 64 pixels.

    See embedded/NOTICE for source and licence, and `scans` for what is simulated.
    """
    template = scans.read_template(_EMBEDDED / "template.npy.gz")
    for folder, kspace_and_target in scans.simulate(template):
        path = raw / _FOLDERS[folder][0]
        path.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in path.iterdir())
        volumes.write(path / f"file{1_000_000 + number}.h5", *kspace_and_target)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data, from the headers of the raw files.

    For a subset this is an upper bound: the widths of its slices are not looked up.
    """
    if raw is None:
        return _FULL_BYTES
    found = [v for folder in _FOLDERS for v in _find(raw, folder, no_progress)]
    sizes = [4 * slice_size(v.num_columns, v.side) for v in found]
    total = sum(v.num_slices * size for v, size in zip(found, sizes, strict=True))
    if subset is None:
        return total
    return min(total, len(SPLITS) * subset * max(sizes))


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Writes the slices of each split, volume after volume, in parts of 32 volumes.

    The train folder is train. The val folder's files in sorted order are divided after
    `splits.validation` slices: as published, its first 100 volumes are validation, the
    other 99 test.
    """
    train = _find(raw, "train", progress)
    val = _find(raw, "val", progress)
    preparation.identify(
        raw_bytes={v.path.name: v.path.stat().st_size for v in (*train, *val)},
        validation=splits.validation,
    )
    _check_sides(train + val)
    num_validation = _check_counts(raw, train, val, splits)
    by_split: dict[Split, list[Volume]] = {
        "train": train,
        "validation": val[:num_validation],
        "test": val[num_validation:],
    }
    counts: dict[str, int] = {}
    for split in SPLITS:
        parts = _parts(by_split[split], subset)
        _write_split(preparation, split, parts, progress)
        counts[split] = sum(piece.num_slices for part in parts for piece in part)
    preparation.finish(
        counts,
        facts={
            "side": train[0].side,
            "volumes": {split: len(found) for split, found in by_split.items()},
        },
    )


def to_columns(kspace: np.ndarray, side: int) -> np.ndarray:
    """The half of the inverse transform that no mask touches, and the crop of its rows.

    kspace: complex64 [2 * side, W], centred. Returns complex64 [W, side], see
    `reader.Slices.columns`.
    """
    shifted = np.fft.ifftshift(kspace, axes=0)
    rows = np.fft.ifft(shifted, axis=0, norm="ortho")
    # Row r of the image, counted from its centre, is at r modulo its length.
    centre = np.concatenate([rows[side // 2 - side :], rows[: side // 2]])
    return np.ascontiguousarray(centre.T)


@dataclass(frozen=True)
class _Piece:
    """The first slices of a volume, all of them unless a subset is prepared."""

    volume: Volume
    number: int  # of the volume within its split
    num_slices: int


def _parts(found: Sequence[Volume], subset: int | None) -> list[list[_Piece]]:
    """What goes into each part, of at most `subset` slices in all."""
    pieces, room = [], subset if subset is not None else 10**9
    for number, volume in enumerate(found):
        if room > 0:
            pieces.append(_Piece(volume, number, min(room, volume.num_slices)))
            room -= volume.num_slices
    return [
        pieces[first : first + _VOLUMES_PER_PART]
        for first in range(0, len(pieces), _VOLUMES_PER_PART)
    ]


def _write_split(
    preparation: Preparation,
    split: Split,
    parts: Sequence[Sequence[_Piece]],
    progress: Progress,
) -> None:
    total = sum(piece.num_slices for part in parts for piece in part)
    if not preparation.has(table_name(split)):
        with preparation.part(table_name(split)) as path:
            np.save(path, _table(parts))
    done = 0
    for number, part in enumerate(parts):
        if not preparation.has(part_name(split, number)):
            with preparation.part(part_name(split, number)) as path:
                _write_part(path, part)
        done += sum(piece.num_slices for piece in part)
        progress(f"preparing {split}", done, total)


def _write_part(path: Path, pieces: Sequence[_Piece]) -> None:
    """Slice after slice, so that only one is in memory."""
    size = sum(
        p.num_slices * slice_size(p.volume.num_columns, p.volume.side) for p in pieces
    )
    header = {"descr": "<f4", "fortran_order": False, "shape": (size,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            slices = volumes.read_slices(piece.volume)
            for kspace, target in itertools.islice(slices, piece.num_slices):
                file.write(to_columns(kspace, piece.volume.side).data)
                file.write(np.ascontiguousarray(target).data)


def _table(parts: Sequence[Sequence[_Piece]]) -> np.ndarray:
    rows = []
    for part_number, part in enumerate(parts):
        offset = 0
        for piece in part:
            volume = piece.volume
            size = slice_size(volume.num_columns, volume.side)
            for _ in range(piece.num_slices):
                known = (piece.number, volume.num_columns, volume.maximum)
                rows.append((part_number, *known, offset))
                offset += size
    return np.array(rows, SLICE)


def _find(raw: Path, folder: str, progress: Progress) -> list[Volume]:
    """The volumes of a raw folder, in the order of their names.

    The published order of training files is that of the directory's listing, which
    depends on the file system; ours is sorted everywhere.
    """
    path = _folder(raw, folder)
    paths = [
        entry.path
        for entry in input_files.entries(path)
        if entry.path.suffix.lower() == ".h5" and not entry.is_folder
    ]
    if not paths:
        raise input_files.not_found(path, "no .h5 files", RAW_HELP)
    found = []
    for file in paths:
        found.append(volumes.read_header(file))
        progress(f"reading headers of {path.name}", len(found), len(paths))
    return found


def _folder(raw: Path, folder: str) -> Path:
    input_files.check_raw_folder(raw, RAW_HELP)
    found = input_files.first_of(raw, *_FOLDERS[folder])
    if found is not None and found.is_folder:
        return found.path
    name = _FOLDERS[folder][0]
    expected = [name for names in _FOLDERS.values() for name in names]
    raise input_files.not_found(
        raw, f"no folder {name}", RAW_HELP, name=name, expected=expected
    )


def _check_sides(found: Sequence[Volume]) -> None:
    """All images must have one size."""
    first = found[0]
    for volume in found:
        if volume.side != first.side:
            raise BadData(
                f"{volume.path} has images of {volume.side}x{volume.side} pixels, "
                f"{first.path} of {first.side}x{first.side}. They do not belong "
                "together: get the official files."
            )


def _check_counts(
    raw: Path, train: Sequence[Volume], val: Sequence[Volume], splits: Splits
) -> int:
    """The number of validation volumes; `BadData` unless all slices are there."""
    needed = {"train": splits.train, "val": splits.validation + splits.test}
    for folder, found in (("train", train), ("val", val)):
        count = sum(volume.num_slices for volume in found)
        if count != needed[folder]:
            raise BadData(
                f"{_folder(raw, folder)} has {len(found):,} volumes with {count:,} "
                f"slices; {needed[folder]:,} slices are expected. A file is missing, "
                "renamed (only *.h5 are read) or extra: get the official files; the "
                f"small shipped data serve fastmri_mini only.\n{RAW_HELP}"
            )
    ends = np.cumsum([volume.num_slices for volume in val]).tolist()
    if splits.validation not in ends:
        raise BadData(
            f"{_folder(raw, 'val')}: no number of first volumes has "
            f"{splits.validation:,} slices, which validation takes. Files are not "
            "named as the official ones are: get those."
        )
    return int(ends.index(splits.validation)) + 1
