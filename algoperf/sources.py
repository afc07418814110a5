"""Where `algoperf prepare --from` finds data that people already have.

A source is a folder that a data set's `prepare` takes in place of the official raw files:
what tensorflow-datasets has prepared, or a folder of the published benchmark.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from algoperf import input_files, packages, paths, plugins
from algoperf.errors import BadData, BadSettings, near
from algoperf.tfds import TfdsFolder, default_root

KINDS = ("tfds", "tfds-download", "published")
HELP = (
    "Use data that you already have instead of the official raw files: tfds[:DIR] reads a "
    "folder of tensorflow-datasets (default: $TFDS_DATA_DIR or ~/tensorflow_datasets), "
    "published[:DIR] the published benchmark's data folder (default: ~/data); "
    "tfds-download[:DIR] lets tensorflow-datasets download and prepare first."
)
_PUBLISHED_ROOT = "~/data"
_DEEPEST = 3  # <name>/<config>/<version>


def find(source: str, name: str, module: plugins.PrepareModule) -> Path:
    """The folder that stands for the raw files of a data set, checked.

    source: the value of `--from`. name: what is prepared, for messages. module: the data
    set's `prepare`.
    """
    kind, _, folder = source.partition(":")
    if kind not in KINDS:
        raise BadSettings(
            f"--from {source} is unknown.{near(kind, KINDS)} It is one of "
            f"{', '.join(f'{kind}[:DIR]' for kind in KINDS)}."
        )
    if kind == "published":
        return _published(folder, name, module)
    names: Sequence[str] = plugins.optional(module, "TFDS", ())
    if not names:
        raise BadSettings(
            f"{name} cannot be prepared from tensorflow-datasets. Give its official files "
            f"with --raw:\n{module.RAW_HELP}"
        )
    root = paths.expanded(folder) if folder else default_root()
    if kind == "tfds-download":
        _download(root, names)
    found = _tfds(root, names, source)
    module.space_needed(found, None)  # finds missing files and packages before any work
    return found


def _tfds(root: Path, names: Sequence[str], source: str) -> Path:
    for place in (root, *root.parents[:_DEEPEST]):
        # The folder of one data set, or of its version, leads to the one of all.
        inside = root.relative_to(place).parts[:1]
        if inside and inside[0] not in {name.partition("/")[0] for name in names}:
            continue
        missing = [name for name in names if TfdsFolder.find(place, name) is None]
        if not missing:
            return place
    missing = [name for name in names if TfdsFolder.find(root, name) is None]
    if input_files.is_folder(root):
        there = [entry.path.name for entry in input_files.entries(root)]
        has = f" It has: {', '.join(there[:10]) or 'nothing'}."
    else:
        has = " There is no such folder."
    raise BadData(
        f"--from {source}: {root} has no {missing[0]} with a folder of a version, such as "
        f"{missing[0]}/3.0.1/dataset_info.json.{has} Give the folder that tensorflow-datasets "
        "calls data_dir, as --from tfds:DIR."
    )


def _published(folder: str, name: str, module: plugins.PrepareModule) -> Path:
    names: Sequence[str] = plugins.optional(module, "PUBLISHED", ())
    if not names:
        raise BadSettings(
            f"{name} is not in the published benchmark's data folder. Give its official "
            f"files with --raw:\n{module.RAW_HELP}"
        )
    root = paths.expanded(folder or _PUBLISHED_ROOT)
    parts = [Path(name).parts for name in names]
    # The folder of all data, that of this data set, or the very place.
    places = [root.joinpath(*part) for part in parts]
    places += [root.joinpath(*part[1:]) for part in parts if root.name == part[0]]
    places += [root for part in parts if root.parts[-len(part) :] == part]
    for place in places:
        if input_files.is_folder(place):
            return place
    raise BadData(
        f"--from published: there is no folder {' or '.join(str(root / n) for n in names)}. "
        "Give the folder that the published benchmark calls DATA_DIR, as --from "
        "published:DIR."
    )


def _download(root: Path, names: Sequence[str]) -> None:
    """Lets tensorflow-datasets download and prepare what is not there yet."""
    missing = [name for name in names if TfdsFolder.find(root, name) is None]
    if not missing:
        return
    tfds = packages.load("tensorflow_datasets", "--from tfds-download", extra="tfds")
    for name in missing:
        print(f"tensorflow-datasets downloads and prepares {name} in {root}.")
        with _errors_of_tfds(name):
            builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
            builder.download_and_prepare()


@contextlib.contextmanager
def _errors_of_tfds(name: str) -> Iterator[None]:
    """Says in one sentence what went wrong in the library, which raises anything."""
    try:
        yield
    except ImportError as error:
        raise BadData(
            f"tensorflow-datasets needs TensorFlow to prepare {name} "
            f"({input_files.in_one_line(error)}). Install tensorflow beside it, or get the "
            "official files: `algoperf prepare` reads those without it."
        ) from error
    except Exception as error:
        raise BadData(
            f"tensorflow-datasets could not download and prepare {name}: "
            f"{type(error).__name__}: {input_files.in_one_line(error)}. Without network, "
            "give the official files with --raw."
        ) from error
