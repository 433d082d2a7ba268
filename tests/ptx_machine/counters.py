# SPDX-License-Identifier: Apache-2.0
"""What a profiler would count, of launches that are given `Counters`. All of it is deterministic.

    counters = Counters()
    Module(ptx).launch("scale", grid, block, arguments, memory, counters=counters)
    counters.shared.excess, counters.device.ratio, counters.instructions["mma"]
    counters.lines[line].shared.excess      # the same, for a line of the source

Of shared memory, transactions: 32 banks of 4 bytes answer with one word each, to all lanes that
want it. Lanes come in phases: all 32 of a warp for up to 4 bytes a lane, 16 for 8 bytes, 8 for 16
bytes, which are also the 8 rows of a matrix of `ldmatrix`. Ideal is one transaction a phase.
Of global memory, sectors of 32 bytes that a warp's instruction touches. Ideal is what as many
different bytes fill.
Of instructions, those of PTX, by class, once for all lanes of a warp that are there. A guarded one
counts wherever it is met, as it is issued for lanes that are off, too. `issued` leaves out moves
and reads of parameters, of which machine code has few; it has fewer integer instructions, too.

Not counted: that atomics of several lanes at one word take turns; what caches hold.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from functools import cache, partial

import numpy as np

BANKS, WORD, SECTOR, WARP = 32, 4, 32, 32
FREE = ("move", "parameter")  # classes of which ptxas leaves little
_CLASSES = (
    (r"mma\.", "mma"),
    (r"ldmatrix\.", "ldmatrix"),
    (r"cp\.async\.c[ag]\.", "copy"),
    (r"cp\.async\.|bar|fence|membar", "wait"),
    (r"ld\.param", "parameter"),
    (r"(ld|st|atom|red)(\.\w+)*?\.shared", "shared"),
    (r"(ld|st|atom|red)(\.\w+)*?\.local", "local"),
    (r"(ld|st|atom|red)\.", "global"),
    (r"mov\.|cvta", "move"),
    (r"bra|ret|exit|call", "branch"),
    (r"shfl|vote|activemask", "warp"),
    (r"cvt\.", "convert"),
    (r".*\.f(16|32|64|16x2)$", "float"),
    (r"", "integer"),
)
CLASSES = tuple(dict.fromkeys(name for _, name in _CLASSES))


@cache
def class_of(opcode) -> str:
    return next(name for pattern, name in _CLASSES if re.match(pattern, opcode))


@cache
def operations_of(opcode) -> int:
    """Return multiplications and additions of an mma."""
    m, n, k = map(int, re.search(r"\.m(\d+)n(\d+)k(\d+)\.", opcode).groups())
    return 2 * m * n * k


@dataclass
class Traffic:
    """Accesses to a memory: instructions of warps, transactions or sectors, bytes of lanes."""

    accesses: int = 0
    done: int = 0
    ideal: int = 0
    loaded: int = 0
    stored: int = 0

    @property
    def excess(self) -> int:
        """Transactions or sectors more than need be: of shared memory, bank conflicts."""
        return self.done - self.ideal

    @property
    def ratio(self) -> float:
        return self.done / self.ideal if self.ideal else 1.0

    def add(self, other, sign=1) -> None:
        for x in fields(self):
            setattr(self, x.name, getattr(self, x.name) + sign * getattr(other, x.name))


@dataclass
class Counts:
    """What is counted of a launch, or of a line of it."""

    shared: Traffic = field(default_factory=Traffic)
    device: Traffic = field(default_factory=Traffic)
    instructions: Counter = field(default_factory=Counter)
    operations: int = 0  # multiplications and additions of mma instructions

    @property
    def issued(self) -> int:
        """Instructions that there are in machine code, about."""
        return sum(n for name, n in self.instructions.items() if name not in FREE)

    def add(self, other, sign=1) -> None:
        self.shared.add(other.shared, sign)
        self.device.add(other.device, sign)
        for name, n in other.instructions.items():
            self.instructions[name] += sign * n
        self.operations += sign * other.operations


class Counters(Counts):
    """Counts of all launches that are given these counters, and of each line of the source."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: defaultdict = defaultdict(Counts)

    def __sub__(self, other) -> Counts:
        """Return what one launch does more than another: of two depths of a loop, the loop."""
        out = Counts()
        out.add(self)
        out.add(other, -1)
        return out

    # -------------------------------------------------------------------- called by the machine

    def attach(self, launch) -> None:
        """Stand between a launch and its memories."""
        for space, counted in ((launch.shared, "shared"), (launch.device, "device")):
            space.note = partial(self._note, space, counted)
        launch.copies.start = partial(self._start, launch.copies)

    def step(self, blocks, block, lanes) -> None:
        """Count a block of instructions, executed by some lanes."""
        warps = lanes.warps()
        if block.number and _is_guard(blocks[block.number - 1]):
            return
        for item in block.items():
            if item is block.last and _is_guard(block):
                item = blocks[block.number + 1].items()[0]
            for counts in (self, self.lines[item.line]):
                counts.instructions[class_of(item.opcode)] += warps
                if item.opcode.startswith("mma."):
                    counts.operations += warps * operations_of(item.opcode)

    def _note(self, space, counted, lanes, address, place, access, how) -> None:
        type(space).note(space, lanes, address, place, access, how)
        self._count(counted, lanes, address, access, lanes.count * access.size, how)

    def _start(self, copies, lanes, target, source, count, access) -> None:
        type(copies).start(copies, lanes, target, source, count, access)
        read = np.minimum(lanes.spread(count), access.size)
        if read.any():
            some = lanes if read.all() else lanes.subset(read > 0)
            source = lanes.spread(source)[read > 0]
            self._count("device", some, source, access, int(read.sum()), "read")

    def _count(self, counted, lanes, address, access, size, how) -> None:
        dense = lanes.by_warp(lanes.spread(address).astype(np.int64))
        dense = np.where(lanes.present(), dense, -1)
        done, ideal = (transactions if counted == "shared" else sectors)(dense, access.size)
        traffic = Traffic(
            accesses=len(dense), done=done, ideal=ideal,
            loaded=size * (how in ("read", "atomic")),
            stored=size * (how in ("write", "copy", "atomic")),
        )  # fmt: skip
        for counts in (self, self.lines[access.line]):
            getattr(counts, counted).add(traffic)


def transactions(addresses, size) -> tuple[int, int]:
    """Return transactions and how few there could be. addresses: (warps, 32), -1 for no lane."""
    words = max(size // WORD, 1)
    phases = addresses.reshape(-1, WARP // words)
    first = np.where(phases < 0, -1, phases // WORD)
    wanted = first[:, :, None] + np.where(first < 0, 0, 1)[:, :, None] * np.arange(words)
    wanted = np.sort(wanted.reshape(-1, WARP), axis=1)
    new = wanted >= 0
    new[:, 1:] &= wanted[:, 1:] != wanted[:, :-1]
    row, column = np.nonzero(new)
    bank = row * BANKS + wanted[row, column] % BANKS
    turns = np.bincount(bank, minlength=len(wanted) * BANKS).reshape(-1, BANKS).max(1)
    return int(turns.sum()), int(np.count_nonzero(turns))


def sectors(addresses, size) -> tuple[int, int]:
    """Return sectors and how few there could be. addresses: (warps, 32), -1 for no lane."""
    size = min(size, SECTOR)
    touched = _different(addresses // SECTOR)
    ideal = -(-_different(addresses // size) * size // SECTOR)
    return int(touched.sum()), int(ideal.sum())


def _different(rows):
    """Return how many different numbers each row has, without negative ones."""
    rows = np.sort(rows, axis=1)
    new = rows >= 0
    new[:, 1:] &= rows[:, 1:] != rows[:, :-1]
    return np.count_nonzero(new, axis=1)


def _is_guard(block) -> bool:
    """Whether a block ends with a branch around one instruction that was guarded."""
    last = block.last
    return block.end == "branch" and last.operands[0].name.startswith("after the guarded")
