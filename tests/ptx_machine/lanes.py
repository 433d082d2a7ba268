# SPDX-License-Identifier: Apache-2.0
"""Lanes that are at the same place, what they know of themselves, and the warps they are of.

A lane is a place in the launch's arrays. Lanes are in order: of a block's threads, and of blocks.
"""

import numpy as np

from ptx_machine.syntax import Immediate, Negated, registers


class Lanes:
    """Some lanes of a launch; `full` if all that are left."""

    __slots__ = ("_known", "count", "full", "index", "launch")

    def __init__(self, launch, index=None) -> None:
        self.launch = launch
        self.index = index
        self.full = index is None
        self.count = launch.width if index is None else index.size
        self._known: dict = {}

    # ----------------------------------------------------------------------------- registers

    def gather(self, registers, numbers):
        index = self.index
        return [x[index] if x.ndim else x for x in map(registers.__getitem__, numbers)]

    def scatter(self, registers, numbers, values) -> None:
        for number, value in zip(numbers, values, strict=True):
            x = registers[number]
            if x.ndim == 0:
                x = registers[number] = np.full(self.launch.width, x)
            x[slice(None) if self.full else self.index] = value

    def value(self, operand, dtype):
        """Return a register's, or a constant's, value: an array or a scalar."""
        if isinstance(operand, Immediate):
            return dtype(operand.bits & 0xFFFFFFFF)
        (register,) = registers(operand)
        x = self.launch.registers[self.launch.program.numbers[register]]
        x = (x if self.full or x.ndim == 0 else x[self.index]).astype(dtype)
        return ~x if isinstance(operand, Negated) else x

    def get(self, name):
        """Return what the lanes know of themselves, an array or a scalar."""
        found = self._known.get(name)
        if found is None:
            found = self.launch.special(name)
            if not self.full and found.ndim:
                found = found[self.index]
            self._known[name] = found
        return found

    def subset(self, chosen) -> "Lanes":
        """Return those of the lanes for which `chosen` is true."""
        index = np.flatnonzero(chosen)
        return Lanes(self.launch, index if self.full else self.index[index])

    def spread(self, value):
        """Return an array over the lanes of what may be a scalar."""
        return value if value.ndim else np.full(self.count, value)

    # --------------------------------------------------------------------------------- warps

    def slots(self):
        """Return each lane's place in an array of (warps, 32), or None if all places are taken."""
        if "slots" not in self._known:
            warp, lane = self.get("warp key"), self.get("lane")
            first = np.empty(self.count, bool)
            first[0] = True
            np.not_equal(warp[1:], warp[:-1], out=first[1:])
            row = np.cumsum(first) - 1
            warps = int(row[-1]) + 1
            self._known["warps"] = warps
            self._known["slots"] = None if warps * 32 == self.count else row * 32 + lane
        return self._known["slots"]

    def warps(self) -> int:
        self.slots()
        return self._known["warps"]

    def by_warp(self, values):
        """Return an array of (warps, 32), with zeros where no lane is."""
        slots, values = self.slots(), self.spread(values)
        if slots is None:
            return values.reshape(-1, 32)
        dense = np.zeros(self.warps() * 32, values.dtype)
        dense[slots] = values
        return dense.reshape(-1, 32)

    def by_lane(self, dense):
        """Undo `by_warp`."""
        slots = self.slots()
        flat = dense.reshape(-1)
        return flat if slots is None else flat[slots]

    def present(self):
        """Return which places of (warps, 32) have a lane."""
        if "present" not in self._known:
            self._known["present"] = self.by_warp(np.True_)
        return self._known["present"]

    def bits(self):
        """Return, for each warp, a mask of its lanes that are here."""
        return np.packbits(self.present(), axis=1, bitorder="little").view(np.uint32)[:, 0]

    def existing(self):
        """Return, for each warp, a mask of its lanes that there are in the launch."""
        warp = self.by_warp(self.get("warp key")).max(1) % self.launch.warps
        left = np.minimum(self.launch.threads - warp * 32, 32)
        return ((1 << left) - 1).astype(np.uint32)

    def complete(self, whole) -> bool:
        """Return whether no lane of any warp is elsewhere, or, if whole, every warp has 32."""
        if self.slots() is None:
            return True
        return not whole and bool((self.bits() == self.existing()).all())


def merged(launch, parts) -> Lanes:
    """Return the union of lanes."""
    here = np.zeros(launch.width, bool)
    for part in parts:
        here[slice(None) if part.full else part.index] = True
    index = np.flatnonzero(here)
    return Lanes(launch, None if index.size == launch.width else index)
