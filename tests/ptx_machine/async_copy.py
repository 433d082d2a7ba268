# SPDX-License-Identifier: Apache-2.0
"""cp.async: copies that land when they are waited for, and not before.

Until then their bytes are poisoned: whoever reads them is reported, whatever they hold. Every
thread has groups of its own: it counts those that it has committed.
"""

from typing import Any, NamedTuple

import numpy as np

from ptx_machine.memory import BASE
from ptx_machine.shared import WRITTEN


class _Copies(NamedTuple):
    """Copies that were started together."""

    thread: Any
    group: Any  # that each belongs to
    place: Any  # the items they go to
    who: Any
    content: Any

    def some(self, chosen) -> "_Copies":
        return _Copies(*(x[chosen] for x in self))


class Copies:
    def __init__(self, launch, threads) -> None:
        self.launch = launch
        self.committed = np.zeros(threads, np.int32)
        self.started: list = []  # (bytes of an item, _Copies)

    def start(self, lanes, target, source, count, access) -> None:
        """Copy `count` bytes, or all there is place for, and fill up with zeros."""
        shared = self.launch.shared
        self.launch.progress()
        target = lanes.spread(target)
        place = shared.locate(lanes, target, access)
        content = self._read(lanes, lanes.spread(source), lanes.spread(count), access)
        shared.note(lanes, target, place, access, "copy")
        thread, who = lanes.get("id"), lanes.get("who")
        copies = _Copies(thread, self.committed[thread], place, who, content)
        self.started.append((access.size, copies))

    def _read(self, lanes, source, count, access):
        """Return items of which no byte after the first `count` is read."""
        launch, size = self.launch, access.size
        items = launch.memory.views[size]
        if (count >= size).all():
            return items[launch.device.locate(lanes, source, access)]
        launch.device.check_alignment(lanes, source, access)
        count = np.minimum(count, size)
        bad = (count > 0) & ~launch.memory.inside(source, count)
        if bad.any():
            launch.fault("out of bounds", access.line, lanes, bad, source)
        content = items[np.where(count > 0, source - np.uint64(BASE), 0) // size]
        parts = content.view(np.uint8).reshape(-1, size)
        parts[np.arange(size) >= count[:, None]] = 0
        return content

    def commit(self, lanes) -> None:
        self.committed[lanes.get("id")] += 1

    def wait(self, lanes, newest) -> None:
        """Let all land but what is in the newest groups."""
        thread = lanes.get("id")
        limit = np.zeros_like(self.committed)
        limit[thread] = self.committed[thread] - newest
        before, self.started = self.started, []
        for size, copies in before:
            ready = copies.group < limit[copies.thread]
            if ready.all():
                self._land(size, copies)
                continue
            if ready.any():
                self._land(size, copies.some(ready))
                copies = copies.some(~ready)
            self.started.append((size, copies))

    def _land(self, size, copies) -> None:
        shared = self.launch.shared
        shared.views[size][copies.place] = copies.content
        shared.states[size][copies.place] = copies.who[:, None] | WRITTEN
        shared.touched = True
