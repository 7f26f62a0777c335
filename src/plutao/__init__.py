"""Plutão: from a folder of text to an assistant of your own."""

__version__ = "0.1.0"
