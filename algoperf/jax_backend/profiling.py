"""JAX's profiler, as `runner.profiling` asks for it."""

import shutil
import tempfile
from pathlib import Path

import jax


class Profiler:
    """Records a trace for TensorBoard, XProf and Perfetto."""

    def __init__(self) -> None:
        self._folder = ""

    def start(self) -> None:
        """See `runner.profiling.Profiler`."""
        self._folder = tempfile.mkdtemp(prefix="algoperf-profile-")
        jax.profiler.start_trace(self._folder)

    def stop(self, folder: Path) -> None:
        """See `runner.profiling.Profiler`."""
        jax.profiler.stop_trace()
        shutil.copytree(self._folder, folder, dirs_exist_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
