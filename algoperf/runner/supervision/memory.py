"""Memory in use, for the logs: a row that grows from evaluation to evaluation shows a leak."""

import psutil

from algoperf.backend import Backend

HOST_COLUMN = "host_memory_bytes"
DEVICE_COLUMN = "device_memory_bytes"


class Memory:
    """Reads the memory of this process and of its devices."""

    def __init__(self, backend: Backend) -> None:
        self._process = psutil.Process()
        self._device_bytes = backend.device_memory_bytes

    def __call__(self) -> dict[str, float]:
        """Resident bytes of this process; bytes in use on its fullest device, if it knows."""
        row = {HOST_COLUMN: self._process.memory_info().rss}
        in_use = self._device_bytes()
        return row if in_use is None else {**row, DEVICE_COLUMN: in_use}
