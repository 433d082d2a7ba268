# SPDX-License-Identifier: Apache-2.0
"""How far a long run is: a bar on a terminal, a line for each phase otherwise."""

from __future__ import annotations

import sys
import time

WIDTH = 30  # characters of the bar


class Progress:
    """Counts steps of phases whose share of the whole is known beforehand."""

    def __init__(self, shares: dict[str, float], stream=None) -> None:  # type: ignore[no-untyped-def]
        self.stream = stream or sys.stderr
        self.drawn = self.stream.isatty()
        whole = sum(shares.values())
        self.shares = {phase: share / whole for phase, share in shares.items()}
        self.before = self.share = 0.0
        self.done, self.steps = 0, 1
        self.began = time.monotonic()

    def phase(self, name: str, steps: int = 1) -> None:
        """The next phase begins, of so many steps."""
        self.before, self.share = self.before + self.share, self.shares.get(name, 0.0)
        self.done, self.steps = 0, max(steps, 1)
        if not self.drawn:
            self._line(name)
        self._draw(name)

    def step(self, text: str = "") -> None:
        """One more step of this phase is about to be done; `text` says what it is."""
        self._draw(text)
        self.done = min(self.done + 1, self.steps)

    def note(self, text: str) -> None:
        """Something to be read, whatever becomes of the bar."""
        if self.drawn:
            self.stream.write("\r\x1b[K")
        self._line(text)

    def end(self) -> None:
        if self.drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def _line(self, text: str) -> None:
        self.stream.write(f"[{time.monotonic() - self.began:5.0f} s] {text}\n")
        self.stream.flush()

    def _draw(self, text: str) -> None:
        if self.drawn:
            part = min(self.before + self.share * self.done / self.steps, 1.0)
            bar = ("#" * round(part * WIDTH)).ljust(WIDTH, ".")
            self.stream.write(f"\r\x1b[K{bar} {part:4.0%}  {text[:60]}")
            self.stream.flush()
