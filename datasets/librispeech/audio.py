"""Decoding FLAC, and the library that does it."""

import io
from types import ModuleType
from typing import Any

import numpy as np

from algoperf import packages
from algoperf.errors import BadData

from .reader import SAMPLE_RATE

# Samples: an hour. What says less or more does not say how long it is.
_MAX_LENGTH = 3600 * SAMPLE_RATE


def soundfile() -> ModuleType:
    """The package soundfile; an error that says how to install it if it is missing."""
    package: ModuleType = packages.load("soundfile", "LibriSpeech")
    return package


def read_flac(
    content: bytes, shown: str, *, max_samples: int
) -> tuple[int, np.ndarray | None]:
    """Number of samples of a FLAC file, and its 16-bit values, int16 [samples].

    A longer one than `max_samples` is not decoded: None. Anything but FLAC of 16 bits,
    16 kHz, mono is refused. shown: the file's name in errors. Frees the interpreter lock.
    """
    package = soundfile()
    try:
        with package.SoundFile(io.BytesIO(content)) as file:
            _check_kind(file, shown)
            length = int(file.frames)
            if not 0 < length < _MAX_LENGTH:
                raise _damaged(shown, f"its header promises {length:,} samples")
            if length > max_samples:
                return length, None
            samples: np.ndarray = file.read(dtype="int16")
    except package.SoundFileError as error:
        raise _damaged(shown, str(error)) from error
    if len(samples) != length:
        raise _damaged(shown, f"{len(samples):,} of {length:,} samples can be read")
    return length, samples


def _check_kind(file: Any, shown: str) -> None:
    if (file.samplerate, file.channels) != (SAMPLE_RATE, 1):
        raise BadData(
            f"{shown} has {file.channels} channels at {file.samplerate} Hz; LibriSpeech "
            f"has one at {SAMPLE_RATE} Hz. Get the official file."
        )
    if (file.format, file.subtype) != ("FLAC", "PCM_16"):
        raise BadData(
            f"{shown} is {file.format} with {file.subtype}; LibriSpeech has FLAC with "
            "PCM_16. Get the official file."
        )


def _damaged(shown: str, reason: str) -> BadData:
    return BadData(
        f"{shown} is damaged ({reason.rstrip('.')}). Delete its archive or folder and "
        "get it again."
    )
