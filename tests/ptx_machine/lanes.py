# SPDX-License-Identifier: Apache-2.0
"""Lanes that are at the same place: what they know of themselves, and what warps do together.

A lane is a place in the launch's arrays. Lanes are in order: of a block's threads, and of blocks.
"""

import functools

import numpy as np

_32 = np.arange(32)


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
            x[self.index] = value

    def get(self, name):
        """Return what the lanes know of themselves, an array or a scalar."""
        found = self._known.get(name)
        if found is None:
            found = self.launch.special(name)
            if not self.full and found.ndim:
                found = found[self.index]
            self._known[name] = found
        return found

    def places(self):
        return np.arange(self.count) if self.full else self.index

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

    def by_warp(self, values, fill=0):
        """Return an array of (warps, 32), with `fill` where no lane is."""
        slots = self.slots()
        if slots is None:
            return values.reshape(-1, 32)
        dense = np.full(self.warps() * 32, fill, values.dtype)
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
            here = np.zeros(self.warps() * 32, bool)
            slots = self.slots()
            here[slice(None) if slots is None else slots] = True
            self._known["present"] = here.reshape(-1, 32)
        return self._known["present"]

    def bits(self):
        """Return, for each warp, a mask of its lanes that are here."""
        return np.packbits(self.present(), axis=1, bitorder="little").view(np.uint32)[:, 0]

    def existing(self):
        """Return, for each warp, a mask of its lanes that there are in the launch."""
        threads = self.launch.threads
        key = self.by_warp(self.get("warp key")).max(1)
        left = np.minimum(threads - key % self.launch.warps * 32, 32)
        return ((1 << left.astype(np.int64)) - 1).astype(np.uint32)

    def complete(self, whole) -> bool:
        """Return whether no lane of any warp is elsewhere, or, if whole, every warp has 32."""
        name = "whole" if whole else "complete"
        if name not in self._known:
            if self.slots() is None:
                self._known[name] = True
            else:
                want = np.uint32(0xFFFFFFFF) if whole else self.existing()
                self._known[name] = bool((self.bits() == want).all())
        return self._known[name]


def merged(launch, parts) -> Lanes:
    """Return the union of lanes."""
    here = np.zeros(launch.width, bool)
    for part in parts:
        here[part.places()] = True
    index = np.flatnonzero(here)
    return Lanes(launch, None if index.size == launch.width else index)


# ---------------------------------------------------------------------- instructions of warps


@functools.cache
def _constant_sources(sources, b, c):
    """Return whom lanes read, and whether in range, if all have the same operands."""
    source, inside = sources(np.full((1, 32), b), np.full((1, 32), c))
    return source[0], inside[0]


def shuffle(lanes, sources, value, b, c):
    """Return what lanes read from each other, whether in range, and which lanes read nobody."""
    shape = (lanes.warps(), 32)
    dense = lanes.by_warp(lanes.spread(value))
    if b.ndim == c.ndim == 0:
        source, inside = _constant_sources(sources, b, c)
        got = dense[:, source]
    else:
        source, inside = sources(lanes.by_warp(lanes.spread(b)), lanes.by_warp(lanes.spread(c)))
        got = np.take_along_axis(dense, source, 1)
    nobody = None
    if lanes.slots() is not None:
        here = np.take_along_axis(lanes.present(), np.broadcast_to(source, shape), 1)
        nobody = lanes.by_lane(~here)
    return lanes.by_lane(got), lambda: _spread_over(lanes, inside), nobody


def vote(lanes, function, predicate):
    """Return what the lanes of each warp say together."""
    said = function(lanes.by_warp(lanes.spread(predicate)), lanes.present())
    return _spread_over(lanes, said)


def active(lanes):
    """Return the mask of lanes of the same warp that are here."""
    return _spread_over(lanes, lanes.bits()[:, None])


def _spread_over(lanes, values):
    """Return what belongs to warps, or to lanes of all warps, as an array over lanes."""
    return lanes.by_lane(np.array(np.broadcast_to(values, (lanes.warps(), 32))))


def products(lanes, function, a, b, c):
    """Multiply the fragments of several instructions: (registers, instructions) of arrays."""
    stacked = [_stacked(lanes, x) for x in (a, b, c)]
    d = function(*stacked)
    return d.reshape(d.shape[0], len(a[0]), -1)


def _stacked(lanes, rows):
    out = np.empty((len(rows), len(rows[0]), lanes.count), np.uint32)
    for target, row in zip(out, rows, strict=True):
        for place, value in enumerate(row):
            target[place] = value
    return out.reshape(len(rows), -1, 32)
