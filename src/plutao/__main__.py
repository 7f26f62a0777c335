"""`python -m plutao` is `plutao`: what torchrun calls."""

from plutao.cli import main

main()
