"""A progress bar for a terminal, plain lines elsewhere."""

import sys
from types import TracebackType
from typing import Any

COLUMNS = ("loss", "accuracy", "r2")


class Progress:
    """Shows loss, accuracy or R², examples/s, time left and the share of time spent waiting for data.

    On a terminal it is a bar (`rich`); without one, or without `rich`, nothing is drawn and `line` prints.

    Args:
        total: number of steps.
        done: steps already taken.
        enabled: `False` shows nothing at all.
    """

    def __init__(self, total: int, *, done: int = 0, enabled: bool = True) -> None:
        self._enabled = enabled
        self._bar = self._task = None
        if enabled and sys.stderr.isatty():
            self._bar = _rich_bar()
        if self._bar is not None:
            self._task = self._bar.add_task("training", total=total, completed=done, text="compiling …")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, values: dict[str, Any], rate: float, waiting: float) -> None:
        """Move the bar to step `done`; `rate` in examples/s, `waiting` as a share of 1."""
        if self._bar is not None:
            shown = [f"{k} {values[k]:.3f}" for k in COLUMNS if k in values]
            # Short enough for a terminal of 80 columns.
            text = " ".join([*shown, f"{rate:,.0f} ex/s", f"waiting {waiting:.1%}"])
            self._bar.update(self._task, completed=done, text=text)

    def line(self, text: str) -> None:
        """Print one line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        elif self._enabled:
            print(text, file=sys.stderr, flush=True)


def _rich_bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
    except ImportError:
        return None
    return RichProgress(
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True),
    )
