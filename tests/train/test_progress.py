"""What people see of a training whose batches and objective tell more than a loss."""

import io

from rich.console import Console

from plutao.train.progress import TerminalProgress

FIGURES = {"reward": 0.4321, "kl": 3.2, "kl_coefficient": 0.02}


def test_a_terminal_shows_the_figures_and_one_exchange_below_the_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=20)
    progress = TerminalProgress(console, "rl")
    progress.figures(FIGURES)
    progress.exchange("How large is Pluto?", "Pluto pluto", "2,377 km\nacross")
    progress.update(3, 10, 0.5, 100.0, 60.0)
    progress.close()
    assert isinstance(console.file, io.StringIO)
    shown = Console(file=io.StringIO(), width=80, record=True)
    shown.print(console.file.getvalue())
    text = shown.export_text()
    for part in ("step 3/10", "reward", "0.432", "kl coefficient", "before", "2,377 km⏎across", "How large is Pluto?"):
        assert part in text


def test_without_a_terminal_the_figures_follow_on_the_line() -> None:
    console = Console(file=io.StringIO(), width=200)
    progress = TerminalProgress(console, "rl")
    progress.figures(FIGURES)
    progress.update(3, 10, 0.5, 100.0, 60.0)
    assert isinstance(console.file, io.StringIO)
    line = console.file.getvalue()
    assert "rl: step 3/10" in line and "reward 0.432  kl 3.2  kl coefficient 0.02" in line


def test_a_training_that_tells_nothing_more_has_a_line_and_no_panel() -> None:
    progress = TerminalProgress(Console(file=io.StringIO(), force_terminal=True), "base")
    assert progress.panel() == []
    progress.close()
