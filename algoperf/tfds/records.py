"""Files of records as tensorflow-datasets writes them: tfrecord and array_record."""

import functools
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from algoperf import input_files, packages
from algoperf.errors import BadData

FORMATS = ("tfrecord", "array_record")
_GET_AGAIN = "Delete its folder and let tensorflow-datasets prepare it again."
_HEADER = struct.Struct("<QI")  # length of the record, checksum of the length
_FOOTER = struct.Struct("<I")  # checksum of the record
_MASK = 0xA282EAD8  # added to checksums, so that those of checksums differ
_MAX_BYTES = 1 << 30  # of a record; larger ones are damage
_ARRAY_RECORD_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # random access
_OPEN_FILES = 64


class Place(NamedTuple):
    """Where a record is. offset: its first byte, or its number in an array_record file."""

    path: Path
    offset: int
    size: int  # bytes; 0 in an array_record file

    @property
    def shown(self) -> str:
        """What messages call it."""
        what = f"byte {self.offset:,}" if self.size else f"number {self.offset:,}"
        return f"{self.path}, the record at {what}"


def check_packages(file_format: str) -> None:
    """`MissingDependency` unless files of that format can be read."""
    needed = {
        "tfrecord": ("google.protobuf", "google_crc32c"),
        "array_record": ("google.protobuf", "array_record.python.array_record_module"),
    }
    packages.check(needed[file_format], f"Reading {file_format} files", extra="tfds")


def stream(path: Path, file_format: str) -> Iterator[tuple[Place, bytes]]:
    """The records of a file in their order; `BadData` if it is cut off or damaged."""
    if file_format == "array_record":
        for number in range(_array_record(path).num_records()):
            place = Place(path, number, 0)
            yield place, read(place)
        return
    position = 0
    with input_files.opened(path) as file:
        while header := file.read(_HEADER.size):
            size = _size(header, path, position)
            place = Place(path, position + _HEADER.size, size)
            yield place, _checked(place, file.read(size + _FOOTER.size))
            position = place.offset + size + _FOOTER.size


def read(place: Place) -> bytes:
    """The bytes of a record, compared with their checksum."""
    if not place.size:
        return _read_from_array_record(place)
    with input_files.opened(place.path, buffering=0) as file:
        size = place.size + _FOOTER.size
        return _checked(place, os.pread(file.fileno(), size, place.offset))


def _checked(place: Place, content: bytes) -> bytes:
    """A record without the checksum that follows it, which must agree."""
    record, footer = content[: place.size], content[place.size :]
    if len(footer) != _FOOTER.size:
        raise _damaged(place.path, place.offset, "it ends within a record")
    if _FOOTER.unpack(footer)[0] != _masked(record):
        raise _damaged(place.path, place.offset, "a checksum does not agree")
    return record


def _size(header: bytes, path: Path, position: int) -> int:
    if len(header) != _HEADER.size:
        raise _damaged(path, position, "it ends within a record")
    size, checksum = _HEADER.unpack(header)
    if checksum != _masked(header[:8]) or not 0 < size < _MAX_BYTES:
        raise _damaged(path, position, "a checksum does not agree")
    return int(size)


def _masked(content: bytes) -> int:
    """The checksum that stands in the file: CRC-32C, turned by 15 bits, plus a number."""
    crc: int = _crc32c()(content)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


@functools.cache
def _crc32c() -> Callable[[bytes], int]:
    package = packages.load("google_crc32c", "Reading tfrecord files", extra="tfds")
    function: Callable[[bytes], int] = package.value
    return function


def _damaged(path: Path, position: int, reason: str) -> BadData:
    return BadData(
        f"{path} is cut off, damaged or no tfrecord file (byte {position:,}: {reason}). "
        f"{_GET_AGAIN}"
    )


@functools.lru_cache(maxsize=_OPEN_FILES)
def _array_record(path: Path) -> Any:
    module = packages.load(
        "array_record.python.array_record_module",
        "Reading array_record files",
        extra="tfds",
    )
    with input_files.opened(path):
        pass  # says what is wrong with the file's name or permissions
    try:
        return module.ArrayRecordReader(str(path), _ARRAY_RECORD_OPTIONS)
    except Exception as error:
        raise _damaged_array_record(path, error) from error


def _read_from_array_record(place: Place) -> bytes:
    reader = _array_record(place.path)
    try:
        (record,) = reader.read([place.offset])
    except Exception as error:  # the library raises anything for damaged files
        raise _damaged_array_record(place.path, error) from error
    return bytes(record)


def _damaged_array_record(path: Path, error: Exception) -> BadData:
    return BadData(
        f"{path} is cut off, damaged or no array_record file "
        f"({input_files.in_one_line(error)}). {_GET_AGAIN}"
    )
