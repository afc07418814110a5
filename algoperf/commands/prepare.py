"""`algoperf prepare`: raw data -> the form that workloads read."""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from algoperf import registry
from algoperf.definition import Splits
from algoperf.download import ProgressPrinter
from algoperf.errors import BadData, UnknownName, near
from algoperf.prepared import Preparation, PreparedData
from algoperf.runner.settings import default_data_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add("name", metavar="NAME", help="a workload or a data set")
    add("--raw", type=Path, metavar="DIR", help="folder with the official files")
    add(
        "--data-dir",
        type=Path,
        default=default_data_dir(),
        metavar="DIR",
        help="where prepared data goes; default: $ALGOPERF_DATA_DIR or %(default)s",
    )
    add(
        "--subset",
        type=int,
        metavar="N",
        help="only N examples per split, marked as partial",
    )
    add(
        "--days",
        metavar="LIST",
        help="criteo1tb, with --subset: only of these days, such as 0-2,23",
    )
    add(
        "--verify",
        action="store_true",
        help="only compare checksums of what is prepared",
    )


def execute(options: argparse.Namespace) -> int:
    """Prepares the data of a workload or data set, or verifies it."""
    dataset, folder_name, splits = _what(options.name)
    folder = options.data_dir / folder_name
    module = registry.dataset_module(dataset, "prepare")
    is_mini = folder_name != dataset
    if not options.verify:
        with tempfile.TemporaryDirectory(prefix="algoperf-raw-") as temporary:
            raw = _raw_folder(module, options, is_mini, Path(temporary), folder)
            chosen = _chosen(module, options)
            _prepare(module, raw, folder, dataset, splits, chosen)
    data = PreparedData.open(
        folder,
        dataset=dataset,
        format_version=module.FORMAT_VERSION,
        splits=splits,
        allow_partial=True,
    )
    if options.verify:
        data.verify(ProgressPrinter())
    counts = ", ".join(f"{split} {count:,}" for split, count in data.counts.items())
    print(f"{options.name} is ready in {folder}: {counts}.")
    return 0


def _prepare(
    module: ModuleType,
    raw: Path,
    folder: Path,
    dataset: str,
    splits: Splits,
    chosen: Mapping[str, Any],
) -> None:
    """chosen: what `_chosen` returns."""
    version, subset = module.FORMAT_VERSION, chosen["subset"]
    with Preparation(
        folder, dataset=dataset, format_version=version, subset=subset
    ) as preparation:
        if preparation.is_finished:
            if "days" in chosen:
                print(
                    f"{folder} was prepared before and keeps the days that it has. "
                    "Remove it to prepare others."
                )
            return
        print(preparation.check_space(module.space_needed(raw, subset)))
        progress = ProgressPrinter()
        module.prepare(raw, preparation, splits=splits, progress=progress, **chosen)


def _chosen(module: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    """Which part of the data is wanted: arguments of the data set's `prepare`."""
    if options.days is None:
        return {"subset": options.subset}
    if not hasattr(module, "days_of"):
        raise BadData(f"{options.name} has no days to choose. Leave --days out.")
    if options.subset is None:
        raise BadData(
            "--days makes a partial copy. Give its number of rows of each split too, "
            "with --subset N."
        )
    return {"subset": options.subset, "days": module.days_of(options.days)}


def _what(name: str) -> tuple[str, str, Splits]:
    """Data set, folder of prepared data, and split sizes, for a workload or data set."""
    definitions = registry.definitions()
    if name in definitions:
        definition = definitions[name]
        return definition.dataset, definition.prepared_name, definition.splits
    for definition in definitions.values():
        if name in (definition.dataset, definition.prepared_name):
            return definition.dataset, name, definition.splits
    known = sorted({*definitions, *registry.folders("datasets")})
    raise UnknownName(
        f"No workload or data set named {name!r}.{near(name, known)} "
        f"There are: {', '.join(known)}."
    )


def _raw_folder(
    module: ModuleType,
    options: argparse.Namespace,
    is_mini: bool,
    temporary: Path,
    folder: Path,
) -> Path:
    """The user's folder, the expanded embedded data, or a fresh download."""
    if options.raw is not None:
        if not options.raw.is_dir():
            raise BadData(
                f"--raw {options.raw} is not a folder. It must hold:\n{module.RAW_HELP}"
            )
        return Path(options.raw)
    if is_mini:
        module.expand_embedded(temporary)
        return temporary
    if not hasattr(module, "download"):
        raise BadData(
            f"The data of {options.name} cannot be downloaded by a program. Get the files and "
            f"give their folder with --raw. Expected:\n{module.RAW_HELP}"
        )
    raw = folder.with_name(f"{folder.name}_raw")  # kept, so that a download resumes
    module.download(raw, ProgressPrinter())
    return raw
