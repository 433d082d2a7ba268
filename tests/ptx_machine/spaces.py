# SPDX-License-Identifier: Apache-2.0
"""Loads, stores and atomics of lanes in global, local and generic memory."""

import numpy as np

from ptx_machine.atomics import serve
from ptx_machine.memory import BASE, ITEMS, LOCAL, SHARED

_BASE = np.uint64(BASE)
SHIFTS = {1: 0, 2: 1, 4: 2, 8: 3, 16: 4}


def elements(raw, access):
    """Return items as registers, each an array of its own."""
    if access.count == 1:
        return raw
    if raw.ndim == 0:
        return list(np.atleast_1d(raw).view(access.element))
    parts = raw.view(access.element).reshape(-1, access.count)
    return [np.ascontiguousarray(parts[:, i]) for i in range(access.count)]


def items(lanes, values, access):
    """Return registers as items."""
    if access.count == 1:
        return values[0]
    out = np.empty((lanes.count, access.count), access.element)
    for i, value in enumerate(values):
        out[:, i] = value
    return out.view(ITEMS[access.size])[:, 0]


class GlobalSpace:
    """Global memory, as a launch sees it."""

    def __init__(self, launch, memory, granule) -> None:
        self.launch = launch
        self.memory = memory
        self.granule = granule
        self.shift = SHIFTS[granule]
        self.writers = memory.writers(granule)

    def locate(self, lanes, address, access):
        """Return the numbers of the items at some addresses, checked."""
        size = access.size
        offset = (address - _BASE).view(np.int64)
        if address.ndim == 0:
            low = high = every = int(offset)
        else:
            low, high = int(np.minimum.reduce(offset)), int(np.maximum.reduce(offset))
            every = int(np.bitwise_or.reduce(offset))
        if every & (size - 1):
            bad = (address & np.uint64(size - 1)) != 0
            self.launch.fault("misaligned", access.line, lanes, bad, address)
        if not self.memory.holds(low + BASE, high + BASE + size):
            inside = self.memory.inside(lanes.spread(address), size)
            if not inside.all():
                self.launch.fault("out of bounds", access.line, lanes, ~inside, address)
        return offset >> SHIFTS[size]

    def load(self, lanes, address, access):
        place = self.locate(lanes, address, access)
        return elements(self.memory.views[access.size][place], access)

    def store(self, lanes, address, values, access) -> None:
        self.launch.progress()
        if address.ndim == 0:
            address = lanes.spread(address)
        place = self.locate(lanes, address, access)
        self.claim(lanes, address, place, access)
        self.memory.views[access.size][place] = items(lanes, values, access)

    def claim(self, lanes, address, place, access) -> None:
        """Note who writes, and report whoever was not alone."""
        launch = self.launch
        mine = lanes.get("stamp")
        per_item = access.size >> self.shift
        writers = self.writers
        if per_item > 1:
            writers = writers[: writers.size // per_item * per_item].reshape(-1, per_item)
            mine = mine[:, None]
        before = writers[place]
        # Stamps of this launch only; its first is the least.
        if int(before.max()) > launch.first_stamp:
            bad = (before > launch.first_stamp) & (before != mine)
            if bad.any():
                self._report(lanes, address, access, bad, before)
        writers[place] = mine
        after = writers[place]
        bad = after != mine
        if bad.any():
            self._report(lanes, address, access, bad, after)

    def _report(self, lanes, address, access, bad, stamps) -> None:
        if bad.ndim == 2:
            part = bad.argmax(1)
            rows = np.arange(bad.shape[0])
            bad, stamps = bad[rows, part], stamps[rows, part]
        other = int(stamps[bad.argmax()]) - self.launch.first_stamp - 1
        self.launch.fault("double write", access.line, lanes, bad, address, other)

    def atomic(self, lanes, address, values, access, name, kind, wanted):
        self.launch.progress()
        address = lanes.spread(address)
        place = self.locate(lanes, address, access)
        view = self.memory.views[access.size]
        return serve(lanes, view, place, values, name, kind, wanted)


class LocalSpace:
    """Every thread's own memory."""

    def __init__(self, launch, size) -> None:
        self.launch = launch
        self.size = size
        self.pitch = -(-size // 16) * 16
        content = np.full(launch.width * self.pitch, 0xFF, np.uint8)
        self.views = {n: content.view(item) for n, item in ITEMS.items()}

    def locate(self, lanes, address, access):
        size = access.size
        address = lanes.spread(address)
        wide = address.astype(np.int64)
        if int(np.bitwise_or.reduce(wide)) & (size - 1):
            bad = (wide & (size - 1)) != 0
            self.launch.fault("misaligned", access.line, lanes, bad, address)
        bad = (wide < 0) | (wide > self.size - size)
        if bad.any():
            self.launch.fault("out of bounds", access.line, lanes, bad, address)
        return (wide + lanes.get("id") * self.pitch) >> SHIFTS[size]

    def load(self, lanes, address, access):
        return elements(self.views[access.size][self.locate(lanes, address, access)], access)

    def store(self, lanes, address, values, access) -> None:
        place = self.locate(lanes, address, access)
        self.views[access.size][place] = items(lanes, values, access)

    def atomic(self, lanes, address, values, access, name, kind, wanted):
        place = self.locate(lanes, address, access)
        return serve(lanes, self.views[access.size], place, values, name, kind, wanted)


class GenericSpace:
    """Addresses that say themselves in which space they are."""

    def __init__(self, launch) -> None:
        self.launch = launch

    def _spaces(self, lanes, address):
        """Yield (space, address in it, which lanes), for every space that is there."""
        top = address >> np.uint64(32)
        shared, local = top == np.uint64(SHARED >> 32), top == np.uint64(LOCAL >> 32)
        launch = self.launch
        for space, base, chosen in (
            (launch.shared_space, SHARED, shared),
            (launch.local_space, LOCAL, local),
            (launch.global_space, 0, ~(shared | local)),
        ):
            if chosen.any():
                yield space, address - np.uint64(base), chosen

    def load(self, lanes, address, access):
        found = list(self._spaces(lanes, address))
        if len(found) == 1:
            ((space, address, _),) = found
            return space.load(lanes, address, access)
        out = [np.empty(lanes.count, access.element) for _ in range(access.count)]
        for space, inner, chosen in found:
            got = space.load(lanes.subset(chosen), inner[chosen], access)
            for target, value in zip(out, got if access.count > 1 else [got], strict=True):
                target[chosen] = value
        return out if access.count > 1 else out[0]

    def store(self, lanes, address, values, access) -> None:
        found = list(self._spaces(lanes, address))
        for space, inner, chosen in found:
            if len(found) == 1:
                space.store(lanes, inner, values, access)
            else:
                some = [lanes.spread(x)[chosen] for x in values]
                space.store(lanes.subset(chosen), inner[chosen], some, access)

    def atomic(self, lanes, address, values, access, *rest):
        found = list(self._spaces(lanes, address))
        if len(found) == 1:
            ((space, address, _),) = found
            return space.atomic(lanes, address, values, access, *rest)
        out = np.zeros(lanes.count, access.element)
        for space, inner, chosen in found:
            some = [lanes.spread(x)[chosen] for x in values]
            got = space.atomic(lanes.subset(chosen), inner[chosen], some, access, *rest)
            if got is not None:
                out[chosen] = got
        return out
