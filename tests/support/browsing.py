"""What tests that look at pages share: the browser, its sizes, a password."""

from pathlib import Path

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "four words nobody joins"
PHONE, DESK = (390, 844), (1280, 800)
SERIOUS = ("serious", "critical")
"""Of axe's findings, those that fail a test."""
