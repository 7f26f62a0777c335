"""The run report, from what rests in a run's folder."""

from plutao.evaluate.report.page import build

__all__ = ["build"]
