# SPDX-License-Identifier: Apache-2.0
"""Barriers of the blocks that run, 16 each, and the lanes that wait at them."""

import numpy as np


class Barriers:
    def __init__(self, launch) -> None:
        self.launch = launch
        self.arrived: list = []  # (block of the program, lanes)

    def arrive(self, block, lanes) -> list:
        """Let lanes wait; return those that may go on, each with the block they waited at."""
        launch = self.launch
        self.arrived.append((block, lanes))
        there, want, trues = np.zeros((3, launch.blocks * 16), np.int64)
        keys = []
        for other, some in self.arrived:
            name, count, said = _operands(other.last)
            key = some.spread(some.get("block") * 16 + some.value(name, np.int64) % 16)
            keys.append(key)
            there += np.bincount(key, minlength=there.size)
            want[key] = launch.threads if count is None else some.value(count, np.int64)
            if said is not None:
                weights = some.spread(some.value(said, np.bool_))
                trues += np.bincount(key, weights, there.size).astype(np.int64)
        ready = (there >= want) & (there > 0)
        if not ready.any():
            return []
        before, self.arrived = self.arrived, []
        self._order(ready, want, before, keys)
        gone = []
        for (other, some), key in zip(before, keys, strict=True):
            free = ready[key]
            if not free.all():
                self.arrived.append((other, some.subset(~free)))
                some, key = some.subset(free), key[free]
            if key.size:
                self._answer(other.last, some, trues[key], there[key])
                gone.append((other, some))
        return gone

    def _order(self, ready, want, arrived, keys) -> None:
        """Tell shared memory what the barriers have put in order."""
        launch = self.launch
        whole = ready & (want > launch.warps * 32 - 32)
        if np.count_nonzero(whole) == launch.blocks:
            launch.shared.barrier(None)
            return
        launch.shared.barrier(np.flatnonzero(whole) // 16)
        for key in np.flatnonzero(ready & ~whole):
            warps = [
                lanes.get("thread")[mine == key] // 32
                for (_, lanes), mine in zip(arrived, keys, strict=True)
            ]
            launch.shared.barrier_of_some(int(key) // 16, np.unique(np.concatenate(warps)))

    def _answer(self, barrier, lanes, trues, total) -> None:
        """Give lanes what a barrier with a reduction says of the predicates of all."""
        number = self.launch.program.numbers.get(barrier.operands[0])
        if ".red." not in barrier.opcode or number is None:
            return
        if ".popc." in barrier.opcode:
            answer = trues.astype(np.uint32)
        else:
            answer = trues == total if ".and." in barrier.opcode else trues > 0
        lanes.scatter(self.launch.registers, [number], [answer])


def _operands(barrier):
    """Return a barrier's name, how many it waits for or None, and its predicate or None."""
    operands, said = barrier.operands, None
    if ".red." in barrier.opcode:
        operands, said = operands[1:-1], operands[-1]
    return operands[0], operands[1] if len(operands) > 1 else None, said
