"""What a person sees while a model trains: one live line on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

QUIET_SECONDS = 15.0  # between lines where there is no terminal
REFRESH_SECONDS = 0.25
PANEL_COLUMN = 24  # characters a figure takes in the panel
SAMPLE_WIDTH = 110  # characters shown of a sample; metrics.jsonl and the report have it whole


class Progress(Protocol):
    """What the loop tells as it goes."""

    def update(self, step: int, steps: int, loss: float, tokens_per_second: float, seconds_left: float) -> None: ...

    def samples(self, step: int, samples: Sequence[dict[str, str]]) -> None: ...

    def figures(self, values: dict[str, float]) -> None: ...

    def exchange(self, prompt: str, before: str, now: str) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class TerminalProgress:
    """Progress on a console: a bar that is drawn over itself on a terminal, plain lines otherwise."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self.live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self.last = -QUIET_SECONDS
        self.values: dict[str, float] = {}
        self.texts: tuple[str, str, str] | None = None
        if self.live is not None:
            self.live.start()

    def update(self, step: int, steps: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        wait = QUIET_SECONDS if self.live is None else REFRESH_SECONDS
        if step < steps and time.monotonic() - self.last < wait:
            return
        self.last = time.monotonic()
        figures = (
            f"step {step:,}/{steps:,}  loss {loss:.3f}  {tokens_per_second:,.0f} tokens/s  {clock(seconds_left)} left"
        )
        if self.live is None:
            told = "  ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in self.values.items())
            self.console.print(f"{self.name}: {figures}  {told}".rstrip(), highlight=False, markup=False)
        else:
            self.live.start()  # again, where a stage trains more than once
            parts = [bar(self.name, step / max(steps, 1), figures), *self.panel()]
            self.live.update(Group(*parts), refresh=True)

    def figures(self, values: dict[str, float]) -> None:
        """What objective and batches tell of the last step, shown with the next line."""
        self.values = values

    def exchange(self, prompt: str, before: str, now: str) -> None:
        """One prompt and its answers, by the model that training started from and by the one it has become."""
        self.texts = (prompt, before, now)

    def panel(self) -> list[RenderableType]:
        """The figures in columns, and the exchange below them."""
        if not self.values:
            return []
        table = Table.grid(padding=(0, 2))
        cells = [
            Text(f"{name.replace('_', ' ')} ", style="dim") + Text(f"{value:.3g}")
            for name, value in self.values.items()
        ]
        columns = max(1, self.console.width // PANEL_COLUMN)
        for start in range(0, len(cells), columns):
            table.add_row(*cells[start : start + columns])
        parts: list[RenderableType] = [table]
        for label, text in zip(("prompt", "before", "now"), self.texts or (), strict=False):
            line = Text(f"{label:7}", style="dim") + Text(on_one_line(text))
            line.truncate(self.console.width, overflow="ellipsis")
            parts.append(line)
        return parts

    def samples(self, step: int, samples: Sequence[dict[str, str]]) -> None:
        """What the model writes now, a line each: the prompt, then its own words."""
        self.note(f"After {step:,} steps it writes:" if step else "Before training it writes:")
        for sample in samples:
            line = (
                Text("  ") + Text(on_one_line(sample["prompt"]) + "▸", style="dim") + Text(on_one_line(sample["text"]))
            )
            line.truncate(min(self.console.width, SAMPLE_WIDTH), overflow="ellipsis")
            self.console.print(line)

    def note(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(text))

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()


@contextmanager
def transfer_bar(console: Console | None, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work counted in bytes, with the time left; gives the function that moves it, to (done, in all)."""
    if console is None or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, transient=True) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total or None)


class Silence:
    """Progress nobody watches: for tests and for all processes but the first."""

    def update(self, step: int, steps: int, loss: float, tokens_per_second: float, seconds_left: float) -> None: ...

    def samples(self, step: int, samples: Sequence[dict[str, str]]) -> None: ...

    def figures(self, values: dict[str, float]) -> None: ...

    def exchange(self, prompt: str, before: str, now: str) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def on_one_line(text: str) -> str:
    return text.replace("\n", "⏎")


def bar(name: str, share: float, figures: str, width: int = 24) -> Table:
    full = round(share * width)
    line = Table.grid(padding=(0, 1))
    line.add_row(
        Text(name, style="bold"),
        Text("━" * full, style="yellow") + Text("━" * (width - full), style="dim"),
        Text(figures),
    )
    return line


def clock(seconds: float) -> str:
    """75 → `1 min 15 s`, 7500 → `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
