"""What a person sees while it works: one line a step on standard error, the result on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Lines with the time since the start; colours only on a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._start = time.monotonic()
        self._is_terminal = self._out.isatty()

    def say(self, text: str) -> None:
        """Tell that something begins or happened."""
        mark = "\033[1m==>\033[0m" if self._is_terminal else "==>"
        print(f"{mark} {text}  [{time.monotonic() - self._start:.0f} s]", file=self._out, flush=True)

    def detail(self, text: str) -> None:
        """Tell how far it is."""
        print(f"    {text}", file=self._out, flush=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Tell what is waited for, and how long it took if that was noticeable."""
        self.say(text)
        begun = time.monotonic()
        yield
        if (took := time.monotonic() - begun) > 1:
            self.detail(f"done in {took:.1f} s")
