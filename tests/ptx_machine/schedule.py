# SPDX-License-Identifier: Apache-2.0
"""Which lanes run next.

Those at the lowest place of the text go first, so that lanes which parted meet again where their
ways do. Lanes that have waited for long go before them, so that a loop which spins until another
lane does something comes to an end. Where a block begins with an instruction of whole warps, lanes
are parked until all that it names have arrived.
"""

import numpy as np

from ptx_machine.lanes import Lanes, merged
from ptx_machine.syntax import Immediate

PATIENCE = 24  # steps that lanes wait at most while others run
IDLE = 50_000  # steps without a store, a barrier or an exit, after which a kernel is hung
MOST = 20_000_000


class Schedule:
    def __init__(self, launch) -> None:
        self.launch = launch
        self.blocks = launch.program.blocks
        self.waiting: dict[int, list[Lanes]] = {}
        self.since: dict[int, int] = {}  # when the first of those that wait at a block came
        self.parked: dict[int, Lanes] = {}
        self.alive = launch.width
        self.exited = np.zeros(launch.blocks, np.int64)  # threads of each block
        self.barriers = Barriers(self)

    def run(self) -> None:
        """Run all lanes to their end."""
        launch = self.launch
        self.put(0, Lanes(launch))
        launch.last_progress = launch.steps
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
                used = [launch.program.numbers[r] for r in block.live_in
                        if r in launch.program.numbers]  # fmt: skip
                lanes = launch.keep(lanes, used)
            result = block.function(launch, lanes)
            self._leave(block, lanes, result)
            if launch.steps - launch.last_progress > IDLE or launch.steps > MOST:
                launch.fault("runaway", block.line, lanes, 0)
        if self.parked or self.barriers.arrived:
            self._report_stuck()

    def put(self, number, lanes) -> None:
        self.waiting.setdefault(number, []).append(lanes)
        self.since.setdefault(number, self.launch.steps)

    def _next(self) -> int:
        if len(self.waiting) == 1:
            return next(iter(self.waiting))
        oldest = min(self.since, key=self.since.__getitem__)
        if self.launch.steps - self.since[oldest] > PATIENCE:
            return oldest
        return min(self.waiting)

    def _leave(self, block, lanes, result) -> None:
        """Send lanes to where a block's end sends them."""
        if block.end == "next":
            self.put(block.number + 1, lanes)
        elif block.end == "branch":
            if result is None:
                self.put(block.target, lanes)
            elif result.ndim == 0:
                self.put(block.target if result else block.number + 1, lanes)
            else:
                taken = np.count_nonzero(result)
                if taken == lanes.count:
                    self.put(block.target, lanes)
                elif taken == 0:
                    self.put(block.number + 1, lanes)
                else:
                    self.put(block.target, lanes.subset(result))
                    self.put(block.number + 1, lanes.subset(~result))
        elif block.end == "barrier":
            self.launch.progress()
            self.barriers.arrive(block, lanes)
        else:
            self.launch.progress()
            self.alive -= lanes.count
            self.exited += np.bincount(lanes.get("block"), minlength=self.exited.size)

    # ------------------------------------------------------------------------- whole warps

    def _admit(self, block, lanes):
        """Return the lanes that may go on; park the others."""
        before = self.parked.pop(block.number, None)
        if before is not None:
            lanes = merged(self.launch, [before, lanes])
        every = block.lanes == Immediate(0xFFFFFFFF)
        if every and lanes.complete(block.whole):
            return lanes
        launch = self.launch
        if every:
            masks = np.full(lanes.count, 0xFFFFFFFF, np.uint32)
        else:
            masks = self._masks(block.lanes, lanes)
        own = masks >> lanes.get("lane").astype(np.uint32) & np.uint32(1)
        if not own.all():
            launch.fault("warp divergence", block.line, lanes, own == 0)
        row = lanes.by_lane(np.arange(lanes.warps())[:, None] + np.zeros(32, int))
        here = lanes.bits()[row]
        named = masks if block.whole else masks & lanes.existing()[row]
        ready = (named & ~here) == 0
        # In a warp, one group of lanes with a mask at a time: that of its first lane that is ready.
        dense = lanes.by_warp(ready, False)
        first = lanes.by_warp(named)[np.arange(dense.shape[0]), dense.argmax(1)]
        chosen = ready & (named == first[row])
        count = np.bincount(row[chosen], minlength=dense.shape[0])
        chosen &= (count == np.bitwise_count(first))[row]
        if chosen.all():
            return lanes
        if not chosen.any():
            self.parked[block.number] = lanes
            return None
        later = ready & ~chosen
        if later.any():
            self.put(block.number, lanes.subset(later))
        left = ~chosen & ~later
        if left.any():
            self.parked[block.number] = lanes.subset(left)
        return lanes.subset(chosen)

    def _masks(self, operand, lanes):
        if isinstance(operand, Immediate):
            return np.full(lanes.count, operand.bits & 0xFFFFFFFF, np.uint32)
        number = self.launch.program.numbers[operand]
        masks = self.launch.registers[number]
        return lanes.spread(masks if lanes.full or masks.ndim == 0 else masks[lanes.index])

    def _report_stuck(self) -> None:
        """Nobody can go on: say why."""
        for number, lanes in sorted(self.parked.items()):
            block = self.blocks[number]
            if not block.barrier:
                self.launch.fault("warp divergence", block.line, lanes, 0)
        for number, lanes in sorted(self.parked.items()):
            self.launch.fault("barrier divergence", self.blocks[number].line, lanes, 0)
        block, lanes = self.barriers.arrived[0]
        some_left = self.exited[lanes.get("block")[0]] > 0
        kind = "barrier divergence" if some_left else "deadlock"
        self.launch.fault(kind, block.barrier.line, lanes, 0)


class Barriers:
    """Lanes that have arrived at barriers. Every block has 16."""

    def __init__(self, schedule) -> None:
        self.schedule = schedule
        self.launch = schedule.launch
        self.arrived: list = []  # (block, lanes)

    def arrive(self, block, lanes) -> None:
        schedule = self.schedule
        self.arrived.append((block, lanes))
        name, count = self._operands(block.barrier)
        alone = len(self.arrived) == 1 and not schedule.exited.any()
        if alone and lanes.full and count is None and isinstance(name, Immediate):
            self.arrived = []
            self.launch.shared_space.barrier(None)
            self._answer(block, lanes, lanes.get("block"))
            schedule.put(block.number + 1, lanes)
            return
        self._release()

    def _release(self) -> None:
        """Let go those at barriers that have all they wait for."""
        launch = self.launch
        size = launch.blocks * 16
        there, want = np.zeros(size, np.int64), np.zeros(size, np.int64)
        keys = []
        for block, lanes in self.arrived:
            name, count = self._operands(block.barrier)
            key = lanes.get("block") * 16 + self._value(lanes, name).astype(np.int64) % 16
            keys.append(key)
            there += np.bincount(key, minlength=size)
            want[key] = launch.threads if count is None else self._value(lanes, count)
        ready = (there >= want) & (there > 0)
        if not ready.any():
            return
        before, self.arrived = self.arrived, []
        self._order(np.flatnonzero(ready), want, before, keys)
        for (block, lanes), key in zip(before, keys, strict=True):
            free = ready[key]
            if free.all():
                self.schedule.put(block.number + 1, lanes)
                self._answer(block, lanes, key, before, keys)
            elif free.any():
                some = lanes.subset(free)
                self._answer(block, some, key[free], before, keys)
                self.schedule.put(block.number + 1, some)
                self.arrived.append((block, lanes.subset(~free)))
            else:
                self.arrived.append((block, lanes))

    def _order(self, ready, want, arrived, keys) -> None:
        """Tell shared memory what the barriers have put in order."""
        launch = self.launch
        whole = want[ready] >= launch.warps * 32 - 31
        if whole.all() and ready.size == launch.blocks:
            launch.shared_space.barrier(None)
            return
        launch.shared_space.barrier(np.unique(ready[whole] // 16))
        for key in ready[~whole]:
            warps = [
                lanes.get("thread")[mine == key] // 32
                for (_, lanes), mine in zip(arrived, keys, strict=True)
            ]
            launch.shared_space.barrier_of_some(int(key) // 16, np.unique(np.concatenate(warps)))

    def _answer(self, block, lanes, key, arrived=None, keys=None) -> None:
        """Give lanes what a barrier with a reduction says."""
        opcode = block.barrier.opcode
        if ".red." not in opcode:
            return
        launch = self.launch
        size = launch.blocks * 16
        trues, total = np.zeros(size, np.int64), np.zeros(size, np.int64)
        pairs = [((block, lanes), key)] if arrived is None else zip(arrived, keys, strict=True)
        for (other, there), their_key in pairs:
            said = self._value(there, other.barrier.operands[-1])
            trues += np.bincount(their_key, weights=said, minlength=size).astype(np.int64)
            total += np.bincount(their_key, minlength=size)
        if ".popc." in opcode:
            answer = trues[key].astype(np.uint32)
        elif ".and." in opcode:
            answer = trues[key] == total[key]
        else:
            answer = trues[key] > 0
        number = launch.program.numbers.get(block.barrier.operands[0])
        if number is None:
            return
        if lanes.full:
            launch.registers[number] = answer
        else:
            lanes.scatter(launch.registers, [number], [answer])

    @staticmethod
    def _operands(barrier):
        """Return the operands that name the barrier and, if it is there, how many it waits for."""
        operands = barrier.operands
        if ".red." in barrier.opcode:
            return operands[1], operands[2] if len(operands) == 4 else None
        return operands[0], operands[1] if len(operands) == 2 else None

    def _value(self, lanes, operand):
        if isinstance(operand, Immediate):
            return np.full(lanes.count, operand.bits)
        register = getattr(operand, "register", operand)
        x = self.launch.registers[self.launch.program.numbers[register]]
        x = lanes.spread(x if lanes.full or x.ndim == 0 else x[lanes.index])
        return x if register is operand else ~x
