# SPDX-License-Identifier: Apache-2.0
"""Which lanes run next.

Those at the lowest place of the text go first, so that lanes which parted meet again where their
ways do. Lanes that have waited for long go before them, so that a loop which spins until another
lane does something comes to an end. Where a block begins with an instruction of whole warps, lanes
are parked until all that it names have arrived.
"""

import numpy as np

from ptx_machine.barriers import Barriers
from ptx_machine.lanes import Lanes, merged

PATIENCE = 24  # steps that lanes wait at most while others run
PATIENCE_COUNTED = 1000  # the same where instructions are counted: on a GPU, lanes meet again
IDLE = 50_000  # steps without a store, a barrier or an exit, after which a kernel is hung
MOST = 20_000_000


class Schedule:
    def __init__(self, launch, counters=None) -> None:
        self.launch = launch
        self.counters = counters
        self.patience = PATIENCE if counters is None else PATIENCE_COUNTED
        self.blocks = launch.program.blocks
        self.waiting: dict[int, list[Lanes]] = {}
        self.since: dict[int, int] = {}  # when the first of those that wait at a block came
        self.parked: dict[int, Lanes] = {}
        self.alive = launch.width
        self.exited = np.zeros(launch.blocks, np.int64)  # threads of each block
        self.barriers = Barriers(launch)

    def run(self) -> None:
        """Run all lanes to their end."""
        launch = self.launch
        self.put(0, Lanes(launch))
        launch.progress()
        while self.waiting:
            launch.steps += 1
            number = self._next()
            block = self.blocks[number]
            parts = self.waiting.pop(number)
            del self.since[number]
            lanes = parts[0] if len(parts) == 1 else merged(launch, parts)
            if block.lanes is not None:
                lanes = self._admit(block, lanes)
                if lanes is None:
                    continue
            if not lanes.full and lanes.count == self.alive:
                numbers = launch.program.numbers
                lanes = launch.keep(lanes, [numbers[r] for r in block.live_in if r in numbers])
            if self.counters is not None:
                self.counters.step(self.blocks, block, lanes)
            self._leave(block, lanes, block.function(launch, lanes))
            if launch.steps - launch.last_progress > IDLE or launch.steps > MOST:
                launch.fault("runaway", block.line, lanes, 0)
        self._report_stuck()

    def put(self, number, lanes) -> None:
        if lanes.count:
            self.waiting.setdefault(number, []).append(lanes)
            self.since.setdefault(number, self.launch.steps)

    def _next(self) -> int:
        if len(self.waiting) == 1:
            return next(iter(self.waiting))
        oldest = min(self.since, key=self.since.__getitem__)
        if self.launch.steps - self.since[oldest] > self.patience:
            return oldest
        return min(self.waiting)

    def _leave(self, block, lanes, result) -> None:
        """Send lanes to where a block's end sends them. result: of a branch's condition."""
        following = block.number + 1
        if block.end == "next":
            self.put(following, lanes)
        elif block.end == "branch":
            taken = lanes.count if result is None else np.count_nonzero(result)
            if taken == lanes.count or (taken and result.ndim == 0):
                self.put(block.target, lanes)
            elif taken == 0:
                self.put(following, lanes)
            else:
                self.put(block.target, lanes.subset(result))
                self.put(following, lanes.subset(~result))
        elif block.end == "barrier":
            self.launch.progress()
            for before, free in self.barriers.arrive(block, lanes):
                self.put(before.number + 1, free)
        else:
            self.launch.progress()
            self.alive -= lanes.count
            self.exited += np.bincount(lanes.get("block"), minlength=self.exited.size)

    def _admit(self, block, lanes):
        """Return the lanes that may go on; park the others."""
        launch = self.launch
        before = self.parked.pop(block.number, None)
        if before is not None:
            lanes = merged(launch, [before, lanes])
        masks = lanes.value(block.lanes, np.uint32)
        if masks.ndim == 0 and masks == 0xFFFFFFFF and lanes.complete(block.whole):
            return lanes
        masks = lanes.spread(masks)
        own = masks >> lanes.get("lane").astype(np.uint32) & 1
        if not own.all():
            launch.fault("warp divergence", block.line, lanes, own == 0)
        row = lanes.by_lane(np.arange(lanes.warps())[:, None] + np.zeros(32, int))
        named = masks if block.whole else masks & lanes.existing()[row]
        ready = (named & ~lanes.bits()[row]) == 0
        # In a warp, one group of lanes with a mask at a time: that of its first lane that is ready.
        leader = lanes.by_warp(ready).argmax(1)
        first = lanes.by_warp(named)[np.arange(leader.size), leader]
        chosen = ready & (named == first[row])
        count = np.bincount(row[chosen], minlength=leader.size)
        chosen &= (count == np.bitwise_count(first))[row]
        if not chosen.any():
            self.parked[block.number] = lanes
            return None
        self.put(block.number, lanes.subset(ready & ~chosen))
        if not ready.all():
            self.parked[block.number] = lanes.subset(~ready & ~chosen)
        return lanes.subset(chosen)

    def _report_stuck(self) -> None:
        """Nobody can go on: say why, if not all are at their end."""
        for wanted in (False, True):  # barriers last
            for number, lanes in sorted(self.parked.items()):
                block = self.blocks[number]
                if wanted == (block.end == "barrier"):
                    kind = "barrier divergence" if wanted else "warp divergence"
                    self.launch.fault(kind, block.line, lanes, 0)
        for block, lanes in self.barriers.arrived:
            some_left = self.exited[lanes.get("block")[0]] > 0
            kind = "barrier divergence" if some_left else "deadlock"
            self.launch.fault(kind, block.line, lanes, 0)
