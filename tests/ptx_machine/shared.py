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

from ptx_machine.atomics import serve
from ptx_machine.memory import ITEMS
from ptx_machine.spaces import SHIFTS, elements, items

WRITER, READER, ATOMIC = 0, 8, 16  # shifts
MANY = 0x80
SETS = 33
WRITTEN, PENDING = np.uint32(1 << 24), np.uint32(2 << 24)
_WHO = np.uint32(0x00FFFFFF)


class SharedSpace:
    def __init__(self, launch, size, granule, blocks) -> None:
        self.launch = launch
        self.size = size
        self.granule = granule
        self.pitch = -(-max(size, 1) // 16) * 16
        content = np.full(blocks * self.pitch, 0xFF, np.uint8)
        self.views = {n: content.view(item) for n, item in ITEMS.items()}
        self.state = np.zeros(blocks * self.pitch // granule, np.uint32)
        self.states = {
            n: self.state.reshape(-1, n // granule) if n > granule else self.state
            for n in ITEMS if n >= granule
        }  # fmt: skip
        self.touched = False  # since the last barrier of all
        # ordered[who, warp]: whether whatever `who` did comes before what the warp does now.
        self.ordered = np.zeros((256, 33), bool)
        self.ordered[0] = True
        self.ordered[np.arange(33), np.arange(33)] = True
        self.sets: dict = {}

    # ------------------------------------------------------------------------------- accesses

    def locate(self, lanes, address, access):
        """Return the numbers of the items at some addresses, checked."""
        size = access.size
        if address.ndim == 0:
            address = lanes.spread(address)
        if int(np.bitwise_or.reduce(address)) & (size - 1):
            bad = (address & address.dtype.type(size - 1)) != 0
            self.launch.fault("misaligned", access.line, lanes, bad, address)
        if int(np.maximum.reduce(address)) > self.size - size:
            bad = address.astype(np.float64) > self.size - size
            self.launch.fault("out of bounds", access.line, lanes, bad, address)
        return (address.astype(np.int64) + lanes.get("shared")) >> SHIFTS[size]

    def load(self, lanes, address, access):
        place = self.locate(lanes, address, access)
        self.note_read(lanes, place, access)
        return elements(self.views[access.size][place], access)

    def store(self, lanes, address, values, access) -> None:
        self.launch.progress()
        place = self.locate(lanes, address, access)
        self.note_write(lanes, place, access)
        self.views[access.size][place] = items(lanes, values, access)

    def atomic(self, lanes, address, values, access, name, kind, wanted):
        self.launch.progress()
        place = self.locate(lanes, address, access)
        self.note_atomic(lanes, place, access)
        return serve(lanes, self.views[access.size], place, values, name, kind, wanted)

    # --------------------------------------------------------------------------------- checks

    def _state(self, lanes, place, access):
        """Return the state of items, one or several granules each, and who the lanes are."""
        state = self.states[access.size]
        found = state[place]
        who = lanes.get("who")
        return state, found, who if found.ndim == 1 else who[:, None]

    def note_read(self, lanes, place, access) -> None:
        state, found, mine = self._state(lanes, place, access)
        differing = int(np.bitwise_or.reduce(found ^ WRITTEN, axis=None))
        if differing & 0xFF000000:
            self._report_flags(lanes, place, access, found)
        if differing & 0x00FF00FF:
            self._judge(lanes, place, access, found, mine, (WRITER, ATOMIC))
        if self.launch.warps > 1:
            self.touched = True
            self._join(state, place, found, mine, READER, differing & 0xFF00)

    def note_write(self, lanes, place, access, flags=WRITTEN) -> None:
        state, found, mine = self._state(lanes, place, access)
        seen = int(np.bitwise_or.reduce(found, axis=None))
        if seen & 0x02000000:
            self._report_flags(lanes, place, access, found | WRITTEN)
        if self.launch.warps == 1:
            state[place] = flags
            return
        if seen & 0x00FFFFFF:
            self._judge(lanes, place, access, found, mine, (WRITER, READER, ATOMIC))
        self.touched = True
        state[place] = mine | flags
        after = state[place]
        bad = after != mine | flags
        if bad.any():
            self._fault("race", lanes, place, access, bad, after & np.uint32(0xFF))

    def note_atomic(self, lanes, place, access) -> None:
        state, found, mine = self._state(lanes, place, access)
        differing = int(np.bitwise_or.reduce(found ^ WRITTEN, axis=None))
        if differing & 0xFF000000:
            self._report_flags(lanes, place, access, found)
        if differing & 0x0000FFFF:
            self._judge(lanes, place, access, found, mine, (WRITER, READER))
        if self.launch.warps > 1:
            self.touched = True
            self._join(state, place, found, mine, ATOMIC, differing & 0xFF0000)

    def _join(self, state, place, found, mine, shift, known) -> None:
        """Add accesses to those that were made since the last barrier."""
        new = mine << np.uint32(shift)
        many = np.uint32(MANY << shift)
        if known:
            # Whatever is ordered before a lane need not be remembered beside it.
            before = self.ordered[found >> np.uint32(shift) & np.uint32(0xFF), mine]
            new = np.where(before, new, found & np.uint32(0xFF << shift) | many)
        new = found & ~np.uint32(0xFF << shift) | new
        state[place] = new
        lost = state[place] != new
        if lost.any():
            # Several lanes, of several warps, at one granule.
            if lost.ndim == 2:
                rows, columns = np.nonzero(lost)
                state[place[rows], columns] |= many
            else:
                state[place[lost]] |= many

    def _report_flags(self, lanes, place, access, found) -> None:
        for kind, bad in (
            ("pending copy", (found & PENDING) != 0),
            ("uninitialized shared", (found & WRITTEN) == 0),
        ):
            if bad.any():
                self._fault(kind, lanes, place, access, bad)

    def _judge(self, lanes, place, access, found, mine, shifts) -> None:
        """Report accesses that are not ordered after what others did."""
        for shift in shifts:
            before = found >> np.uint32(shift) & np.uint32(0xFF)
            bad = ~self.ordered[before, mine]
            if bad.any():
                self._fault("race", lanes, place, access, bad, before)

    def _fault(self, kind, lanes, place, access, bad, before=None) -> None:
        """Report the first bad access. before: who was there, if that matters."""
        if bad.ndim == 2:
            part = bad.argmax(1)
            rows = np.arange(bad.shape[0])
            before = before if before is None else before[rows, part]
            bad = bad.any(1)
        first = int(bad.argmax())
        address = (place << SHIFTS[access.size]) % self.pitch
        other = None
        if before is not None:
            launch = self.launch
            thread = lanes.get("id")[first]
            block = thread // launch.threads
            mine = thread % launch.threads // 32 + 1
            other = block * launch.threads + 32 * (self._another(int(before[first]), mine) - 1)
        self.launch.fault_of(kind, access.line, lanes.get("id")[first], int(address[first]), other)

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
        rows = self.state.reshape(-1, self.pitch // self.granule)
        if blocks is None:
            rows &= ~_WHO
            self.touched = False
        else:
            rows[blocks] &= ~_WHO

    def barrier_of_some(self, block, warps) -> None:
        """Order what some warps of a block did, and what came before it, but only for them."""
        members = np.zeros(33, bool)
        members[warps + 1] = True
        renamed = np.arange(256, dtype=np.uint8)
        for who in range(1, SETS + len(self.sets)):
            if (self.ordered[who] & members).any():
                renamed[who] = self._name(self.ordered[who] | members)
        rows = self.state.reshape(-1, self.pitch // self.granule)
        fields = rows[block].view(np.uint8).reshape(-1, 4)
        fields[:, :3] = renamed[fields[:, :3]]

    def _name(self, members) -> int:
        """Return what stands for a set of warps."""
        name = self.sets.setdefault(members.tobytes(), SETS + len(self.sets))
        if name >= MANY:
            msg = "the machine cannot tell so many sets of warps apart"
            raise NotImplementedError(msg)
        self.ordered[name] = members
        return name
