# SPDX-License-Identifier: Apache-2.0
"""cp.async: copies that land when they are waited for, and not before.

Until then their bytes are poisoned: whoever reads them is reported, whatever they hold. Every
thread has groups of its own: it counts those that it has committed.
"""

from typing import Any, NamedTuple

import numpy as np

from ptx_machine.memory import BASE
from ptx_machine.shared import PENDING, WRITTEN


class _Copy(NamedTuple):
    """Copies that were started together."""

    thread: Any
    group: Any  # that each belongs to
    place: Any  # the items they go to
    who: Any
    content: Any
    size: int


class Copies:
    def __init__(self, launch, threads) -> None:
        self.launch = launch
        self.committed = np.zeros(threads, np.int32)
        self.started: list[_Copy] = []

    def start(self, lanes, target, source, count, access) -> None:
        """Copy `count` bytes, or all there is place for, and fill up with zeros."""
        launch, size = self.launch, access.size
        launch.progress()
        shared = launch.shared_space
        place = shared.locate(lanes, target, access)
        source = lanes.spread(source)
        if count is None:
            items = launch.global_space.locate(lanes, source, access)
            content = launch.memory.views[size][items]
        else:
            content = self._read(lanes, source, lanes.spread(count), access)
        shared.note_write(lanes, place, access, WRITTEN | PENDING)
        thread = lanes.get("id")
        group = self.committed[thread]
        self.started.append(_Copy(thread, group, place, lanes.get("who"), content, size))

    def _read(self, lanes, source, count, access):
        """Return items of which no byte after the first `count` is read."""
        launch, size = self.launch, access.size
        count = np.minimum(count, np.uint32(size))
        bad = (source & np.uint64(size - 1)) != 0
        if bad.any():
            launch.fault("misaligned", access.line, lanes, bad, source)
        whole = count == size
        content = np.zeros((lanes.count, size), np.uint8)
        if whole.all():
            items = launch.global_space.locate(lanes, source, access)
            return launch.memory.views[size][items]
        if whole.any():
            some = lanes.subset(whole)
            items = launch.global_space.locate(some, source[whole], access)
            content[whole] = launch.memory.views[size][items].view(np.uint8).reshape(-1, size)
        part = ~whole & (count > 0)
        if part.any():
            place = np.arange(size)
            read = place < count[part, None]
            where = source[part, None] + place.astype(np.uint64)
            bad = np.zeros(lanes.count, bool)
            bad[part] = (read & ~launch.memory.inside(where, 1)).any(1)
            if bad.any():
                launch.fault("out of bounds", access.line, lanes, bad, source)
            some = np.zeros(where.shape, np.uint8)
            some[read] = launch.memory.views[1][where[read] - np.uint64(BASE)]
            content[part] = some
        return content.view(launch.memory.views[size].dtype)[:, 0]

    def commit(self, lanes) -> None:
        self.committed[lanes.get("id")] += 1

    def wait_all(self, lanes) -> None:
        self.commit(lanes)
        self.wait(lanes, 0)

    def wait(self, lanes, newest) -> None:
        """Let all land but what is in the newest groups."""
        if not self.started:
            return
        thread = lanes.get("id")
        limit = np.zeros_like(self.committed)
        limit[thread] = self.committed[thread] - newest
        left = []
        for copy in self.started:
            ready = copy.group < limit[copy.thread]
            if ready.all():
                self._land(copy)
            elif ready.any():
                self._land(_some(copy, ready))
                left.append(_some(copy, ~ready))
            else:
                left.append(copy)
        self.started = left

    def _land(self, copy) -> None:
        shared = self.launch.shared_space
        shared.views[copy.size][copy.place] = copy.content
        state = shared.states[copy.size]
        if self.launch.warps == 1:
            state[copy.place] = WRITTEN
        else:
            who = copy.who if state.ndim == 1 else copy.who[:, None]
            shared.touched = True
            state[copy.place] = who | WRITTEN


def _some(copy, chosen) -> _Copy:
    arrays = (x[chosen] for x in copy[:5])
    return _Copy(*arrays, copy.size)
