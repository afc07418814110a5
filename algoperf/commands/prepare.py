"""`algoperf prepare`: raw data -> the form that workloads read."""

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import Any

from algoperf import (
    downloads,
    input_files,
    packages,
    paths,
    plugins,
    readiness,
    registry,
    sources,
)
from algoperf.definition import Splits
from algoperf.download import ProgressPrinter, writing_to
from algoperf.errors import BadData, BadSettings, UnknownName, near
from algoperf.journal import Journal
from algoperf.manifest import MANIFEST, verify_command
from algoperf.prepared import Preparation, PreparedData
from algoperf.runner.settings import default_data_dir

EXAMPLES = """\
examples:
  algoperf prepare mnist_mini
  algoperf prepare imagenet --raw /data/imagenet --data-dir /data/prepared
  algoperf prepare ogbg --dry-run"""

_DOWNLOAD_LOCK = ".download.lock"  # two downloads would write the same files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add("name", metavar="NAME", help="Workload or data set to prepare.")
    add("--raw", metavar="DIR", help="Directory containing the official raw files.")
    add("--from", dest="source", metavar="SOURCE", help=sources.HELP)
    add(
        "--data-dir",
        default=default_data_dir(),
        metavar="DIR",
        help="Directory to write prepared data to (default: $ALGOPERF_DATA_DIR or %(default)s).",
    )
    add(
        "--subset",
        type=int,
        metavar="N",
        help="Prepare only N examples per split; the result is marked as partial.",
    )
    add(
        "--days",
        metavar="LIST",
        help="Criteo1tb only, with --subset: days to take examples from, such as 0-2,23.",
    )
    add(
        "--verify",
        action="store_true",
        help="Prepare nothing; verify the checksums of prepared data.",
    )
    add(
        "--check",
        nargs="?",
        const="",
        metavar="DIR",
        help="Only report whether the raw files in DIR (default: of --raw or --from) are "
        "complete, how much space preparing needs, and its estimated time.",
    )
    add(
        "--dry-run",
        action="store_true",
        help="Only list what would be downloaded, from where.",
    )


def execute(options: argparse.Namespace) -> int:
    """Prepares the data of a workload or data set, or verifies it."""
    options.data_dir = paths.expanded(str(options.data_dir))
    options.raw = None if options.raw is None else paths.expanded(options.raw)
    dataset, folder_name, splits = _what(options.name)
    folder = options.data_dir / folder_name
    module = registry.prepare_module(dataset)
    was_finished = False
    if options.dry_run:
        return _list_downloads(module, options, folder)
    if options.check is not None:
        return _check(module, options, folder, dataset, splits)
    if not options.verify:
        needed = plugins.optional(module, "PACKAGES", ())
        packages.check(needed, f"Preparing {options.name}")
        was_finished = _prepare(module, options, folder, dataset, splits)
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
    state = f"{options.name} is ready in {folder}: {counts}."
    if was_finished:
        state += (
            " It was prepared before; the contents of its files are not verified; use "
            f"--verify: {verify_command(folder)}."
        )
    print(state)
    if options.verify:
        print("All checksums agree with those that were written.")
    return 0


def _list_downloads(
    module: plugins.PrepareModule, options: argparse.Namespace, folder: Path
) -> int:
    """Prints what would be downloaded."""
    files = plugins.optional(module, "DOWNLOADS", ())
    if options.raw is not None or options.source is not None:
        raise BadSettings(
            "--dry-run lists downloads; with --raw or --from there are none."
        )
    if folder.name.endswith("_mini"):
        print(f"{options.name} needs no download: its data is in the repository.")
    elif not files:
        raise BadData(_not_downloadable(module, options))
    else:
        print("\n".join(downloads.plan(files, _download_folder(folder))))
    return 0


def _check(
    module: plugins.PrepareModule,
    options: argparse.Namespace,
    folder: Path,
    dataset: str,
    splits: Splits,
) -> int:
    """Prints what preparing would find and need."""
    if options.check:
        if options.raw is not None or options.source is not None:
            raise BadSettings(
                "--check DIR and --raw or --from name two sources. Give one of them."
            )
        options.raw = paths.expanded(options.check)
    is_mini = folder.name.endswith("_mini")
    packages.check(
        plugins.optional(module, "PACKAGES", ()), f"Preparing {options.name}"
    )
    _check_raw(module, options, is_mini)
    if options.source is not None:
        options.raw = sources.find(options.source, options.name, module)
    if options.raw is None and not is_mini:
        options.raw = _download_folder(folder)
    with contextlib.ExitStack() as stack:
        raw = _raw_folder(module, options, is_mini, folder, stack)
        check = readiness.Check(module, dataset, raw, folder, splits, ProgressPrinter())
        print("\n".join(check.report()))
    return 0


def _prepare(
    module: plugins.PrepareModule,
    options: argparse.Namespace,
    folder: Path,
    dataset: str,
    splits: Splits,
) -> bool:
    """Prepares what is missing; returns whether nothing was."""
    is_mini = folder.name.endswith("_mini")
    _check_raw(module, options, is_mini)
    recorded = {}
    if options.source is not None:
        options.raw = sources.find(options.source, options.name, module)
        kind = options.source.partition(":")[0].removesuffix("-download")
        recorded["--from"] = f"{kind}:{options.raw}"
    chosen = _chosen(module, options)
    version, subset = module.FORMAT_VERSION, chosen["subset"]

    def begin() -> Preparation:
        return Preparation(
            folder,
            dataset=dataset,
            format_version=version,
            subset=subset,
            options=recorded,
        )

    if input_files.is_file(folder / MANIFEST):
        with begin() as preparation:
            if preparation.is_finished:
                if "days" in chosen:
                    print(f"{folder} keeps the days that it has. Remove it for others.")
                return True
    with contextlib.ExitStack() as stack:
        raw = _raw_folder(module, options, is_mini, folder, stack)
        preparation = stack.enter_context(begin())
        print(preparation.check_space(module.space_needed(raw, subset)))
        progress = ProgressPrinter()
        module.prepare(raw, preparation, splits=splits, progress=progress, **chosen)
    return False


def _check_raw(
    module: plugins.PrepareModule, options: argparse.Namespace, is_mini: bool
) -> None:
    """`BadData` unless raw files are given, shipped or can be downloaded."""
    if options.raw is not None and options.source is not None:
        raise BadSettings("--raw and --from name two sources. Give one of them.")
    if options.source is not None:
        return
    if options.raw is not None:
        if not input_files.is_folder(options.raw):
            raise BadData(
                f"--raw {options.raw} is not a folder. It must hold:\n{module.RAW_HELP}"
            )
    elif not is_mini and not plugins.optional(module, "download"):
        raise BadData(_not_downloadable(module, options))


def _not_downloadable(
    module: plugins.PrepareModule, options: argparse.Namespace
) -> str:
    ways = [
        f"--from {kind}"
        for kind, names in (("tfds", "TFDS"), ("published", "PUBLISHED"))
        if plugins.optional(module, names)
    ]
    other = (
        f" What you have already can be used with {' or '.join(ways)}." if ways else ""
    )
    return (
        f"The data of {options.name} cannot be downloaded by a program. Get the files "
        f"and give their folder with --raw.{other} Expected:\n{module.RAW_HELP}"
    )


def _download_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_raw")  # kept, so that a download resumes


def _raw_folder(
    module: plugins.PrepareModule,
    options: argparse.Namespace,
    is_mini: bool,
    folder: Path,
    stack: contextlib.ExitStack,
) -> Path:
    """The user's folder, the expanded embedded data, or a fresh download."""
    if options.raw is not None:
        return Path(options.raw)
    if is_mini:
        with writing_to(Path(tempfile.gettempdir())):
            temporary = tempfile.TemporaryDirectory(
                prefix="algoperf-raw-", ignore_cleanup_errors=True
            )
            raw = Path(stack.enter_context(temporary))
            module.expand_embedded(raw)
        return raw
    raw = _download_folder(folder)
    with writing_to(raw):
        raw.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Journal(raw / _DOWNLOAD_LOCK)):
        plugins.optional(module, "download")(raw, ProgressPrinter())
    return raw


def _chosen(
    module: plugins.PrepareModule, options: argparse.Namespace
) -> dict[str, Any]:
    """Which part of the data to prepare: arguments of the data set's `prepare`."""
    if options.days is None:
        return {"subset": options.subset}
    days_of = plugins.optional(module, "days_of")
    if days_of is None:
        raise BadData(f"{options.name} has no days to choose. Leave --days out.")
    if options.subset is None:
        raise BadData(
            "--days makes a partial copy. Give its number of rows of each split too, "
            "with --subset N."
        )
    return {"subset": options.subset, "days": days_of(options.days)}


def _what(name: str) -> tuple[str, str, Splits]:
    """Data set, folder of prepared data, and split sizes, for a workload or data set."""
    definitions = registry.definitions()
    if name in definitions:
        definition = definitions[name]
        if not definition.needs_data:
            raise BadData(
                f"{name} needs no prepared data: its examples are computed. Run it."
            )
        return definition.dataset, definition.prepared_name, definition.splits
    for of_name in ("prepared_name", "dataset"):  # a folder's own definition first
        for definition in definitions.values():
            if name == getattr(definition, of_name):
                return definition.dataset, name, definition.splits
    datasets = registry.folders("datasets")
    for suffix, splits_name in (("", "SPLITS"), ("_mini", "MINI_SPLITS")):
        dataset = name.removesuffix(suffix)
        if dataset in datasets and name.endswith(suffix):
            module = registry.dataset_module(dataset, "prepare")
            splits: Splits | None = plugins.optional(module, splits_name)
            if splits is not None:
                return dataset, name, splits
    known = sorted({*definitions, *datasets})
    raise UnknownName(
        f"No workload or data set named {name!r}.{near(name, known)} "
        f"There are: {', '.join(known)}."
    )
