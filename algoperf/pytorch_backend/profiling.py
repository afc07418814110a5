"""PyTorch's profiler, as `runner.profiling` asks for it."""

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

_NUM_ROWS = 50


class Profiler:
    """Records `trace.json`, for Perfetto and chrome://tracing, and a table by operator."""

    def __init__(self) -> None:
        self._profile: Any = None

    def start(self) -> None:
        """See `runner.profiling.Profiler`."""
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profile = torch.profiler.profile(
            activities=activities, record_shapes=True
        )
        self._profile.start()

    def stop(self, folder: Path) -> None:
        """See `runner.profiling.Profiler`."""
        profile, self._profile = self._profile, None
        profile.stop()
        profile.export_chrome_trace(str(folder / "trace.json"))
        order = "cuda" if torch.cuda.is_available() else "cpu"
        table = profile.key_averages().table(
            sort_by=f"self_{order}_time_total", row_limit=_NUM_ROWS
        )
        (folder / "operators.txt").write_text(table)
