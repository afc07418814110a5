"""Decoding FLAC, and the library that does it."""

import io
from types import ModuleType

import numpy as np

from algoperf.errors import BadData, MissingDependency

from .reader import SAMPLE_RATE


def soundfile() -> ModuleType:
    """The package soundfile; an error that says how to install it if it is missing."""
    try:
        import soundfile as package
    except (ModuleNotFoundError, OSError) as error:  # OSError: without libsndfile
        raise MissingDependency(
            f"LibriSpeech needs the package soundfile ({error}). Install it: pip "
            "install 'algoperf[data]'."
        ) from None
    return package


def read_flac(
    content: bytes, shown: str, *, max_samples: int
) -> tuple[int, np.ndarray | None]:
    """Number of samples of a FLAC file, and its 16-bit values, int16 [samples].

    A longer one than `max_samples` is not decoded: None. Anything but 16 kHz mono is
    refused. shown: the file's name in errors. Frees the interpreter lock.
    """
    package = soundfile()
    try:
        with package.SoundFile(io.BytesIO(content)) as file:
            length = _checked_length(file, shown)
            if length > max_samples:
                return length, None
            samples: np.ndarray = file.read(dtype="int16")
    except package.LibsndfileError as error:
        raise _damaged(shown, str(error)) from error
    if len(samples) != length:
        raise _damaged(shown, f"{len(samples):,} of {length:,} samples can be read")
    return length, samples


def _checked_length(file: object, shown: str) -> int:
    rate = getattr(file, "samplerate", None)
    channels = getattr(file, "channels", None)
    if (rate, channels) != (SAMPLE_RATE, 1):
        raise BadData(
            f"{shown} has {channels} channels at {rate} Hz; LibriSpeech has one at "
            f"{SAMPLE_RATE} Hz. Get the official file."
        )
    return int(getattr(file, "frames", 0))


def _damaged(shown: str, reason: str) -> BadData:
    return BadData(
        f"{shown} is damaged ({reason.rstrip('.')}). Delete its archive or folder and "
        "get it again."
    )
