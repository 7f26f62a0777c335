"""Tools that a model may call while it answers; the calculator is the first."""

from plutao.generate.tools.calculator import Calculator
from plutao.generate.tools.contract import Tool

__all__ = ["Calculator", "Tool"]
