# SPDX-License-Identifier: Apache-2.0
"""Shared memory of the blocks of a launch, and what is known of each granule of it.

A granule is as wide as the kernel's narrowest access. Its state is a word of four bytes:

    byte 0  who wrote it since the last barrier
    byte 1  who read it since then
    byte 2  who changed it by atomics since then
    byte 3  whether it was ever written, and whether a copy to it is in flight

"Who" is 0, or warp + 1, with MANY added if it is not the only one, or a set of warps that a
barrier of only some warps has put in order (from SETS on). An access races if it is not ordered
after one of another warp, and one of the two writes. A barrier of all forgets bytes 0 to 2. Since
all that matters is what barriers order, no schedule hides a race.
"""

import numpy as np

from ptx_machine.memory import ITEMS
from ptx_machine.spaces import SHIFTS, WindowSpace

WRITER, READER, ATOMIC = 0, 8, 16  # shifts
MANY = 0x80
SETS = 33
WRITTEN, PENDING = np.uint32(1 << 24), np.uint32(2 << 24)
_WHO = np.uint32(0x00FFFFFF)
STORES = ("write", "copy")
# Which accesses of others an access must not meet.
AGAINST = {"read": (WRITER, ATOMIC), "atomic": (WRITER, READER),
           "write": (WRITER, READER, ATOMIC), "copy": (WRITER, READER, ATOMIC)}  # fmt: skip


class SharedSpace(WindowSpace):
    def __init__(self, launch, size, granule, blocks) -> None:
        super().__init__(launch, size, "block", blocks)
        state = np.zeros(blocks * self.pitch // granule, np.uint32)
        self.states = {n: state.reshape(-1, n // granule) for n in ITEMS if n >= granule}
        self.by_block = state.reshape(blocks, -1)
        self.touched = False  # since the last barrier of all
        # ordered[who, warp]: whether whatever `who` did comes before what the warp does now.
        self.ordered = np.zeros((256, 33), bool)
        self.ordered[0] = True
        self.ordered[np.arange(33), np.arange(33)] = True
        self.sets: dict = {}

    def note(self, lanes, address, place, access, how) -> None:
        flags = WRITTEN | PENDING if how == "copy" else WRITTEN
        state = self.states[access.size]
        found = state[place]
        mine = lanes.get("who")[:, None]
        differing = int(np.bitwise_or.reduce(found ^ WRITTEN, axis=None))
        if differing & PENDING:
            self._report("pending copy", lanes, place, access, (found & PENDING) != 0)
        if differing & WRITTEN and how not in STORES:
            self._report("uninitialized shared", lanes, place, access, (found & WRITTEN) == 0)
        for shift in AGAINST[how]:
            if differing & 0xFF << shift:
                before = found >> shift & 0xFF
                bad = ~self.ordered[before, mine]
                self._report("race", lanes, place, access, bad, before)
        self.touched = True
        if how in STORES:
            state[place] = mine | flags
            after = state[place]
            bad = after != mine | flags
            if bad.any():
                self._report("race", lanes, place, access, bad, after & 0xFF)
        else:
            shift = READER if how == "read" else ATOMIC
            self._join(state, place, found, mine, shift, differing & 0xFF << shift)

    def _join(self, state, place, found, mine, shift, known) -> None:
        """Add accesses to those that were made since the last barrier."""
        field, many = np.uint32(0xFF << shift), np.uint32(MANY << shift)
        # Whatever is ordered before a lane need not be remembered beside it.
        new = found | mine << shift
        if known:
            alone = self.ordered[found >> shift & 0xFF, mine]
            new = found & ~field | np.where(alone, mine << shift, found & field | many)
        state[place] = new
        lost = state[place] != new
        if lost.any():  # several lanes, of several warps, at one granule
            rows, columns = np.nonzero(lost)
            state[place[rows], columns] |= many

    def _report(self, kind, lanes, place, access, bad, before=None) -> None:
        """Report the first bad access, if there is one. before: who was there, if that matters."""
        if not bad.any():
            return
        launch = self.launch
        rows = bad.any(1)
        first = int(rows.argmax())
        other = None
        if before is not None:
            block, thread = lanes.get("block")[first], lanes.get("thread")[first]
            warp = self._another(int(before[first, bad[first].argmax()]), thread // 32 + 1) - 1
            other = (launch.first_block + block) * launch.threads + 32 * warp
        address = (place << SHIFTS[access.size]) % self.pitch
        launch.fault(kind, access.line, lanes, rows, address, other)

    def _another(self, who, mine) -> int:
        """Return a warp (counted from 1) that is among `who`, and another one than `mine`."""
        one = who & ~MANY
        members = (
            np.flatnonzero(self.ordered[one, : self.launch.warps + 1]) if one >= SETS else [one]
        )
        others = [x for x in members if x not in (0, mine)]
        return int(others[0]) if others else (1 if mine != 1 else 2)

    # ------------------------------------------------------------------------------- barriers

    def barrier(self, blocks) -> None:
        """Order all that the warps of some blocks did; None: of all blocks."""
        if not self.touched:
            return
        if blocks is None:
            self.by_block &= ~_WHO
            self.touched = False
        else:
            self.by_block[blocks] &= ~_WHO

    def barrier_of_some(self, block, warps) -> None:
        """Order what some warps of a block did, and what came before it, but only for them."""
        members = np.zeros(33, bool)
        members[warps + 1] = True
        renamed = np.arange(256, dtype=np.uint8)
        for who in range(1, SETS + len(self.sets)):
            if (self.ordered[who] & members).any():
                renamed[who] = self._name(self.ordered[who] | members)
        fields = self.by_block[block].view(np.uint8).reshape(-1, 4)
        fields[:, :3] = renamed[fields[:, :3]]

    def _name(self, members) -> int:
        """Return what stands for a set of warps."""
        name = self.sets.setdefault(members.tobytes(), SETS + len(self.sets))
        if name >= MANY:
            msg = "the machine cannot tell so many sets of warps apart"
            raise NotImplementedError(msg)
        self.ordered[name] = members
        return name
