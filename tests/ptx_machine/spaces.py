# SPDX-License-Identifier: Apache-2.0
"""Loads, stores and atomics of lanes in global, local and generic memory.

An access finds the items of its size that its addresses name, checked, and then copies those.
"""

import numpy as np

from ptx_machine.atomics import serve
from ptx_machine.memory import BASE, ITEMS, LOCAL, SHARED

_BASE = np.uint64(BASE)
SHIFTS = {1: 0, 2: 1, 4: 2, 8: 3, 16: 4}


def elements(raw, access):
    """Return items as registers, each an array of its own."""
    if access.count == 1:
        return (raw,)
    if raw.ndim == 0:
        return np.atleast_1d(raw).view(access.element)
    return np.ascontiguousarray(raw.view(access.element).reshape(-1, access.count).T)


def items(lanes, values, access):
    """Return registers as items."""
    if access.count == 1:
        return values[0]
    out = np.empty((lanes.count, access.count), access.element)
    for i, value in enumerate(values):
        out[:, i] = value
    return out.view(ITEMS[access.size])[:, 0]


class Space:
    """What all spaces have in common."""

    def __init__(self, launch) -> None:
        self.launch = launch
        self.views: dict = {}  # bytes of an item -> all items

    def locate(self, lanes, address, access):
        """Return the numbers of the items at some addresses, checked."""
        raise NotImplementedError

    def note(self, lanes, address, place, access, how) -> None:
        """Judge an access, and remember it. how: read, write or atomic."""

    def load(self, lanes, address, access):
        place = self.locate(lanes, address, access)
        self.note(lanes, address, place, access, "read")
        return elements(self.views[access.size][place], access)

    def store(self, lanes, address, values, access) -> None:
        self.launch.progress()
        address = lanes.spread(address)
        place = self.locate(lanes, address, access)
        self.note(lanes, address, place, access, "write")
        self.views[access.size][place] = items(lanes, values, access)

    def atomic(self, lanes, address, values, access, name, kind, wanted):
        self.launch.progress()
        address = lanes.spread(address)
        place = self.locate(lanes, address, access)
        self.note(lanes, address, place, access, "atomic")
        return serve(lanes, self.views[access.size], place, values, name, kind, wanted)

    def check_alignment(self, lanes, address, access) -> None:
        mask = access.size - 1
        if int(np.bitwise_or.reduce(address, axis=None)) & mask:
            self.launch.fault("misaligned", access.line, lanes, address & mask != 0, address)


class GlobalSpace(Space):
    """Global memory, as a launch sees it."""

    def __init__(self, launch, memory, granule) -> None:
        super().__init__(launch)
        self.memory, self.views = memory, memory.views
        self.shift = SHIFTS[granule]
        self.writers = memory.writers

    def locate(self, lanes, address, access):
        self.check_alignment(lanes, address, access)
        low, high = (
            int(np.minimum.reduce(address, axis=None)),
            int(np.maximum.reduce(address, axis=None)),
        )
        if not self.memory.holds(low, high + access.size):
            inside = self.memory.inside(lanes.spread(address), access.size)
            if not inside.all():
                self.launch.fault("out of bounds", access.line, lanes, ~inside, address)
        return (address - _BASE).view(np.int64) >> SHIFTS[access.size]

    def note(self, lanes, address, place, access, how) -> None:
        """Note who writes, and report whoever was not alone."""
        if how != "write":
            return
        first = self.launch.first_stamp
        mine = lanes.get("stamp")
        per_item = access.size >> self.shift
        writers = self.writers
        if per_item > 1:
            writers = writers[: writers.size // per_item * per_item].reshape(-1, per_item)
            mine = mine[:, None]
        before = writers[place]
        writers[place] = mine
        if int(before.max()) <= first:  # stamps of this launch only; its first is the least
            before = mine
        for stamps in (before, writers[place]):
            bad = (stamps > first) & (stamps != mine)
            if bad.any():
                stamps, bad = (x.reshape(lanes.count, -1) for x in (stamps, bad))
                row = int(bad.any(1).argmax())
                other = int(stamps[row, bad[row].argmax()]) - first - 1
                self.launch.fault("double write", access.line, lanes, bad.any(1), address, other)


class WindowSpace(Space):
    """Memory of which every owner, a block or a thread, has as much."""

    def __init__(self, launch, size, owner, owners) -> None:
        super().__init__(launch)
        self.size, self.owner = size, owner
        self.pitch = -(-max(size, 1) // 16) * 16
        content = np.full(owners * self.pitch, 0xFF, np.uint8)
        self.views = {n: content.view(item) for n, item in ITEMS.items()}

    def locate(self, lanes, address, access):
        address = lanes.spread(address)
        self.check_alignment(lanes, address, access)
        last = self.size - access.size
        if int(address.max()) > last:
            self.launch.fault("out of bounds", access.line, lanes, address > last, address)
        owner = lanes.get(self.owner) * self.pitch
        return (address.astype(np.int64) + owner) >> SHIFTS[access.size]


class GenericSpace(Space):
    """Addresses that say themselves in which space they are."""

    def _parts(self, lanes, address):
        """Return (space, lanes, addresses in it, which lanes), for every space that is there."""
        launch, address = self.launch, lanes.spread(address)
        top = address >> np.uint64(32)
        shared, local = top == SHARED >> 32, top == LOCAL >> 32
        spaces = ((launch.shared, SHARED, shared), (launch.local, LOCAL, local),
                  (launch.device, 0, ~(shared | local)))  # fmt: skip
        for space, base, chosen in spaces:
            if chosen.all():
                return [(space, lanes, address - np.uint64(base), slice(None))]
        return [(space, lanes.subset(chosen), address[chosen] - np.uint64(base), chosen)
                for space, base, chosen in spaces if chosen.any()]  # fmt: skip

    def load(self, lanes, address, access):
        out = np.empty((access.count, lanes.count), access.element)
        for space, some, inner, chosen in self._parts(lanes, address):
            for target, value in zip(out, space.load(some, inner, access), strict=True):
                target[chosen] = value
        return out

    def store(self, lanes, address, values, access) -> None:
        values = [lanes.spread(x) for x in values]
        for space, some, inner, chosen in self._parts(lanes, address):
            space.store(some, inner, [x[chosen] for x in values], access)

    def atomic(self, lanes, address, values, access, name, kind, wanted):
        out = np.empty(lanes.count, access.element)
        values = [lanes.spread(x) for x in values]
        for space, some, inner, chosen in self._parts(lanes, address):
            those = [x[chosen] for x in values]
            got = space.atomic(some, inner, those, access, name, kind, wanted)
            if wanted:
                out[chosen] = got
        return out
