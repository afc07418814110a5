"""A progress bar on a terminal, for work whose progress is told in calls."""

from typing import Any, TextIO


class TerminalBar:
    """Draws label, bar, share and time left in one line, over the one drawn before."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(file=stream, highlight=False)
        # Never started: it would hide the cursor, and an error would leave it hidden.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[share]}"),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
        )
        self._task: Any = None
        self._label = ""
        self._is_drawn = False

    def draw(self, label: str, done: int, total: int | None, share: str) -> None:
        """Shows `done` of `total`; `share` is that in words."""
        if self._task is None or label != self._label:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task, self._label = self._progress.add_task(label, share=share), label
        self._progress.update(self._task, completed=done, total=total, share=share)
        self.clear()
        self._console.print(self._progress.get_renderable())
        self._is_drawn = True

    def clear(self) -> None:
        """Removes the line, so that what comes next stands where it was."""
        from rich.control import Control

        if self._is_drawn:
            self._console.control(Control.move(0, -1), Control.move_to_column(0))
            self._console.file.write("\x1b[J")
            self._is_drawn = False
