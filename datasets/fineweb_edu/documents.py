"""The raw Parquet files: which there are, and the texts of their rows."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import input_files, packages
from algoperf.errors import BadData, near
from algoperf.input_files import GET_AGAIN, in_one_line

COLUMN = "text"
_ROWS_AT_ONCE = 1_000

RAW_HELP = """\
FineWeb-Edu, sample-10BT: the Parquet files of its one split (about 28 GB), anywhere below
the folder: sample/10BT/000_00000.parquet and those after it.
From https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu, for example with
  hf download HuggingFaceFW/fineweb-edu --repo-type dataset \\
    --include 'sample/10BT/*' --local-dir DIR
Licence: ODC-By 1.0, and the terms of use of Common Crawl."""


def pyarrow() -> tuple[Any, Any]:
    """The packages pyarrow and pyarrow.parquet, which only preparing needs."""
    names = "pyarrow", "pyarrow.parquet"
    arrow, parquet = (packages.load(name, "Preparing fineweb_edu") for name in names)
    return arrow, parquet


@dataclass(frozen=True)
class Block:
    """Some row groups of one file: what is tokenised, and stored, at once."""

    path: Path
    groups: tuple[int, ...]
    first_row: int
    num_rows: int

    def texts(self) -> Iterator[str]:
        """The text of each row; `BadData` names the file and row of a bad one."""
        arrow, _ = pyarrow()
        row = self.first_row
        with _opened(self.path) as file:
            batches = file.iter_batches(
                _ROWS_AT_ONCE, row_groups=self.groups, columns=[COLUMN]
            )
            try:
                for batch in batches:
                    for value in batch.column(0):
                        yield self._text(value, row)
                        row += 1
            except (arrow.ArrowException, OSError) as error:
                raise BadData(
                    f"{self.path} is damaged after row {row:,} "
                    f"({in_one_line(error)}). {GET_AGAIN}"
                ) from error

    def _text(self, value: Any, row: int) -> str:
        try:
            text = value.as_py()
        except UnicodeDecodeError as error:
            raise BadData(
                f"{self.path}, row {row:,}: the text is not UTF-8 ({error}). {GET_AGAIN}"
            ) from error
        if text is None:
            raise BadData(f"{self.path}, row {row:,} has no text. {GET_AGAIN}")
        return str(text)


def find_files(raw: Path) -> list[Path]:
    """All Parquet files below a folder, sorted by path."""
    input_files.check_raw_folder(raw, RAW_HELP)
    below = (entry.path for entry in input_files.files_below(raw))
    paths = [path for path in below if path.suffix.lower() == ".parquet"]
    if not paths:
        name = "000_00000.parquet"
        raise input_files.not_found(raw, "no Parquet file", RAW_HELP, name=name)
    return paths


def blocks_of(path: Path, rows_at_least: int) -> list[Block]:
    """The file in blocks of at least so many rows, the last one excepted.

    Reads the file's footer; `BadData` where that is damaged or there is no text.
    """
    with _opened(path) as file:
        _check_schema(path, file.schema_arrow)
        metadata = file.metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    return _grouped(path, sizes, rows_at_least)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`; `BadData` where its footer is damaged."""
    arrow, parquet = pyarrow()
    with input_files.opened(path) as content:
        try:
            file = parquet.ParquetFile(content)
        except (arrow.ArrowException, OSError) as error:
            raise BadData(
                f"{path} is no whole Parquet file ({in_one_line(error)}). A file of some "
                "hundred bytes is a pointer of Git LFS: fetch what it stands for. "
                f"Otherwise: {GET_AGAIN}"
            ) from error
        with file:
            yield file


def _grouped(path: Path, sizes: list[int], rows_at_least: int) -> list[Block]:
    blocks, groups, row, num_rows = [], [], 0, 0
    for group, size in enumerate(sizes):
        groups.append(group)
        num_rows += size
        if num_rows >= rows_at_least or group == len(sizes) - 1:
            blocks.append(Block(path, tuple(groups), row, num_rows))
            row, groups, num_rows = row + num_rows, [], 0
    return blocks


def _check_schema(path: Path, schema: Any) -> None:
    arrow, _ = pyarrow()
    names = ", ".join(schema.names)
    if COLUMN not in schema.names:
        raise BadData(
            f"{path} has no column {COLUMN!r}.{near(COLUMN, schema.names)} It has: "
            f"{names}. Is it a file of FineWeb-Edu?"
        )
    if schema.names.count(COLUMN) > 1:
        raise BadData(
            f"{path} has more than one column {COLUMN!r}. It has: {names}. {GET_AGAIN}"
        )
    found = schema.field(COLUMN).type
    is_text = (
        arrow.types.is_string(found)
        or arrow.types.is_large_string(found)
        or found == arrow.string_view()
    )
    if not is_text:
        raise BadData(
            f"{path}: the column {COLUMN!r} holds {found}, not strings. Is it a file of "
            "FineWeb-Edu?"
        )
