"""Lets tests of file permissions run as root, to whom the system allows everything."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

import pytest

_VERSION = 0x20080522
_OVERRIDES = 0b0110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """In the body, this thread and those that it starts obey file permissions."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root obeys no file permissions here")
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    # Effective, permitted, inheritable: the lower 32 capabilities, then the upper ones.
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        pytest.skip("the capabilities of root cannot be read")
    effective = sets[0]
    sets[0] = effective & ~_OVERRIDES
    if libc.capset(header, sets):
        pytest.skip("root cannot give up its capabilities")
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0
