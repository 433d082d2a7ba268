# SPDX-License-Identifier: Apache-2.0
"""A launch: its registers, its memories, and what its lanes know of themselves."""

import numpy as np

from ptx_machine import lanes as warps
from ptx_machine.async_copy import Copies
from ptx_machine.faults import Fault
from ptx_machine.lanes import Lanes
from ptx_machine.shared import SharedSpace
from ptx_machine.spaces import GenericSpace, GlobalSpace, LocalSpace

_AXES = {"x": 0, "y": 1, "z": 2}


class Launch:
    """The state that the functions of blocks work on: that of some of the grid's blocks.

    Blocks that are beyond do not run at the same time.
    """

    def __init__(self, program, grid, block, parameters, memory, symbols, shared) -> None:
        self.program = program
        self.grid = grid
        self.block = block
        self.memory = memory
        self.symbols = symbols
        self.parameters, self.offsets = parameters
        self.places, self.shared_size, self.local_size = shared
        self.threads = block[0] * block[1] * block[2]
        self.warps = -(-self.threads // 32)
        blocks = grid[0] * grid[1] * grid[2]
        self.first_stamp = memory.stamps(blocks * self.threads)
        self.global_space = GlobalSpace(self, memory, program.granule["global"])
        self.generic_space = GenericSpace(self)
        self.address_of_parameters = None
        self.steps = self.last_progress = 0

    def begin(self, first, count) -> None:
        """Prepare to run some of the grid's blocks."""
        self.first_block, self.blocks = first, count
        self.width = count * self.threads
        self.ids = np.arange(self.width)
        self._known: dict = {}
        self.registers = [dtype(0) for dtype in self.program.registers]
        granule = self.program.granule["shared"]
        self.shared_space = SharedSpace(self, self.shared_size, granule, count)
        self.local_space = LocalSpace(self, self.local_size)
        self.copies = Copies(self, self.width)

    def progress(self) -> None:
        self.last_progress = self.steps

    def keep(self, lanes, registers) -> Lanes:
        """Forget all lanes but these. registers: the numbers of those that are still needed."""
        index = lanes.index
        kept = {n: self.registers[n] for n in registers}
        self.registers = [dtype(0) for dtype in self.program.registers]
        for n, x in kept.items():
            self.registers[n] = x[index] if x.ndim else x
        self.ids = self.ids[index]
        self.width = index.size
        self._known = {}
        return Lanes(self)

    # ------------------------------------------------------------------- what lanes know

    def special(self, name):
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._special(name)
        return found

    def _special(self, name):
        special = self.special
        if name == "id":  # counts the threads of the blocks that run now
            return self.ids
        if name == "thread":
            return self.ids % self.threads if self.blocks > 1 else self.ids
        if name == "block":
            return self.ids // self.threads
        if name == "who":
            return (special("thread") // 32 + 1).astype(np.uint32)
        if name == "warp key":
            return special("block") * self.warps + special("thread") // 32
        if name == "lane":
            return special("thread") % 32
        if name == "shared":
            return special("block") * self.shared_space.pitch
        if name == "stamp":
            return (self.ids + (self.first_stamp + 1 + self.first_block * self.threads)).astype(
                "u4"
            )
        return self._register(name)

    def _register(self, name):
        base, _, axis = name.partition(".")
        special, axis = self.special, _AXES.get(axis)
        if base == "%ntid":
            return np.uint32(self.block[axis])
        if base == "%nctaid":
            return np.uint32(self.grid[axis])
        if base in ("%tid", "%ctaid"):
            shape = self.block if base == "%tid" else self.grid
            if shape[axis] == 1:
                return np.uint32(0)
            if base == "%ctaid" and self.blocks == 1:
                number = np.int64(self.first_block)
            else:
                number = (
                    special("thread") if base == "%tid" else special("block") + self.first_block
                )
            below = int(np.prod(shape[:axis], dtype=np.int64))
            number = number // below if below > 1 else number
            return (
                number % shape[axis] if any(n > 1 for n in shape[axis + 1 :]) else number
            ).astype(np.uint32)
        lane = special("lane").astype(np.uint64)
        one = np.uint64(1)
        values = {
            "%laneid": lambda: lane,
            "%warpid": lambda: special("thread") // 32,
            "%nwarpid": lambda: np.int64(self.warps),
            "%lanemask_eq": lambda: one << lane,
            "%lanemask_lt": lambda: (one << lane) - one,
            "%lanemask_le": lambda: (one << lane + one) - one,
            "%lanemask_gt": lambda: np.uint64(0xFFFFFFFF) ^ ((one << lane + one) - one),
            "%lanemask_ge": lambda: np.uint64(0xFFFFFFFF) ^ ((one << lane) - one),
        }
        return values[base]().astype(np.uint32)

    # ------------------------------------------------------------------------- parameters

    def parameter(self, name, offset, dtype):
        place = self.offsets[name] + offset
        return np.frombuffer(self.parameters, dtype, 1, place)[0]

    def address_of_parameter(self, name):
        if self.address_of_parameters is None:
            size = len(self.parameters)
            self.address_of_parameters = self.memory.allocate(size)
            self.memory.view(self.address_of_parameters, size)[...] = np.frombuffer(
                self.parameters, np.uint8
            )
        return self.address_of_parameters + self.offsets[name]

    # ----------------------------------------------------------------------- whole warps

    def shuffle(self, lanes, sources, value, b, c, line):
        got, inside, nobody = warps.shuffle(lanes, sources, value, b, c)
        if nobody is not None and nobody.any():
            self.fault("warp divergence", line, lanes, nobody)
        return got, inside

    def vote(self, lanes, function, predicate):
        return warps.vote(lanes, function, predicate)

    def active(self, lanes):
        return warps.active(lanes)

    def products(self, lanes, function, a, b, c):
        return warps.products(lanes, function, a, b, c)

    def matrices(self, lanes, address, count, function, access):
        """Read rows that 8 lanes a matrix name, and deal them to all lanes of the warps."""
        shared = self.shared_space
        dense = lanes.spread(address).reshape(-1, 32)
        if count < 4:
            chosen = np.zeros(dense.shape, bool)
            chosen[:, : 8 * count] = True
            reading = lanes.subset(chosen.reshape(-1))
            address = np.ascontiguousarray(dense[:, : 8 * count]).reshape(-1)
        else:
            reading, address = lanes, dense.reshape(-1)
        rows = shared.load(reading, address, access)
        rows = rows.view(np.uint8).reshape(-1, count, 8, 16).transpose(1, 2, 0, 3)
        dealt = function(rows)
        return dealt.reshape(count, -1)

    # ---------------------------------------------------------------------------- reports

    def fault(self, kind, line, lanes, bad, address=None, other=None) -> None:
        """Report the first of the lanes that are bad. other: the number of a thread of the grid."""
        first = int(np.argmax(bad)) if np.ndim(bad) else 0
        if address is not None:
            address = int(address[first]) if np.ndim(address) else int(address)
        where = None if other is None else self.thread(other)
        mine = self.thread(int(lanes.get("id")[first]) + self.first_block * self.threads)
        raise Fault(kind, self.program.name, line, mine, address, where)

    def fault_of(self, kind, line, thread, address, other) -> None:
        """The same, of threads that count from the first of the blocks that run now."""
        first = self.first_block * self.threads
        where = None if other is None else self.thread(int(other) + first)
        raise Fault(kind, self.program.name, line, self.thread(int(thread) + first), address, where)

    def thread(self, number):
        """Return where a thread of the grid is."""
        block, thread = divmod(number, self.threads)
        return _place(block, self.grid), _place(thread, self.block)


def _place(number, shape):
    x, y, _ = shape
    return number % x, number // x % y, number // (x * y)
