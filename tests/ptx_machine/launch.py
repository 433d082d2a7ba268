# SPDX-License-Identifier: Apache-2.0
"""A launch: its registers, its memories, and what its lanes know of themselves."""

import math

import numpy as np

from ptx_machine.async_copy import Copies
from ptx_machine.faults import Fault
from ptx_machine.lanes import Lanes
from ptx_machine.shared import SharedSpace
from ptx_machine.spaces import GenericSpace, GlobalSpace, WindowSpace

_KNOWN = {
    "id": lambda m: m.ids,  # counts the threads of the blocks that run now
    "thread": lambda m: m.ids % m.threads,
    "block": lambda m: m.ids // m.threads,
    "who": lambda m: (m.special("thread") // 32 + 1).astype(np.uint32),
    "warp key": lambda m: m.special("block") * m.warps + m.special("thread") // 32,
    "lane": lambda m: m.special("thread") % 32,
    "stamp": lambda m: (m.ids + m.first_block * m.threads + m.first_stamp + 1).astype(np.uint32),
    "%laneid": lambda m: m.special("lane").astype(np.uint32),
    "%lanemask_lt": lambda m: ((1 << m.special("lane")) - 1).astype(np.uint32),
    "%lanemask_ge": lambda m: (-1 << m.special("lane")).astype(np.uint32),
}


class Launch:
    """The state that the functions of blocks work on: that of some of the grid's blocks.

    Blocks that are beyond do not run at the same time.
    """

    def __init__(self, program, grid, block, memory, arguments, addresses, sizes) -> None:
        self.program = program
        self.grid, self.block = grid, block
        self.memory = memory
        self.arguments, self.offsets = arguments  # bytes, and where each parameter begins
        self.addresses = addresses  # of variables and parameters, each in its space
        self.sizes = sizes  # of shared and local memory
        self.threads = math.prod(block)
        self.warps = -(-self.threads // 32)
        self.first_stamp = memory.stamps(math.prod(grid) * self.threads)
        self.device = GlobalSpace(self, memory, program.granule["device"])
        self.generic = GenericSpace(self)
        self.steps = self.last_progress = 0

    def begin(self, first, count) -> None:
        """Prepare to run some of the grid's blocks."""
        self.first_block, self.blocks = first, count
        width = count * self.threads
        self._have(np.arange(width))
        granule = self.program.granule["shared"]
        self.shared = SharedSpace(self, self.sizes["shared"], granule, count)
        self.local = WindowSpace(self, self.sizes["local"], "id", width)
        self.copies = Copies(self, width)

    def _have(self, ids) -> None:
        self.ids, self.width = ids, ids.size
        self.registers = [dtype(0) for dtype in self.program.registers]
        self._known: dict = {}

    def progress(self) -> None:
        self.last_progress = self.steps

    def keep(self, lanes, registers) -> Lanes:
        """Forget all lanes but these. registers: the numbers of those that are still needed."""
        before = self.registers
        self._have(self.ids[lanes.index])
        for n, x in zip(registers, lanes.gather(before, registers), strict=True):
            self.registers[n] = x
        return Lanes(self)

    def parameter(self, name, offset, dtype):
        return np.frombuffer(self.arguments, dtype, 1, self.offsets[name] + offset)[0]

    # ------------------------------------------------------------------- what lanes know

    def special(self, name):
        """Return a special register, or what else lanes know: an array, or a scalar."""
        if name not in self._known:
            know = _KNOWN.get(name)
            self._known[name] = know(self) if know else self._place(*name.split("."))
        return self._known[name]

    def _place(self, name, axis):
        """Return %tid, %ctaid, %ntid or %nctaid: a scalar where all have the same."""
        shape, axis = self.grid if "cta" in name else self.block, "xyz".index(axis)
        if name.startswith("%n"):
            return np.uint32(shape[axis])
        if shape[axis] == 1:
            return np.uint32(0)
        number = self.special("thread")
        if name == "%ctaid":
            number = self.first_block + (self.special("block") if self.blocks > 1 else np.int64(0))
        return (number // math.prod(shape[:axis]) % shape[axis]).astype(np.uint32)

    # ---------------------------------------------------------------------------- reports

    def fault(self, kind, line, lanes, bad, address=None, other=None) -> None:
        """Report the first of the lanes that are bad. other: the number of a thread of the grid."""
        first = int(np.argmax(bad))
        if address is not None:
            address = int(lanes.spread(address)[first])
        mine = self.first_block * self.threads + int(lanes.get("id")[first])
        other = None if other is None else self._thread(int(other))
        raise Fault(kind, self.program.entry.name, line, self._thread(mine), address, other)

    def _thread(self, number):
        """Return where a thread of the grid is."""
        block, thread = divmod(number, self.threads)
        return _place(block, self.grid), _place(thread, self.block)


def _place(number, shape):
    x, y, _ = shape
    return number % x, number // x % y, number // (x * y)
