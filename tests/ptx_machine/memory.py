# SPDX-License-Identifier: Apache-2.0
"""Global memory: an arena that the system commits as it is touched, with allocations in it.

Fresh bytes are 0xFF, a NaN in every format. Between allocations lie red zones, which belong to
nobody.
"""

import bisect
import mmap

import numpy as np

BASE = 0x7F00_0000_0000  # the arena's address; far from the windows of generic addresses
ARENA = 1 << 35
SHARED, LOCAL = 1 << 32, 2 << 32  # where other spaces begin among generic addresses
_NO_RESERVE = 0x4000  # Linux's MAP_NORESERVE; Python has the name from 3.13 on
RED_ZONE = 256

# Bytes of an access -> an item that is copied whole. (Complex numbers are 16 bytes to NumPy.)
ITEMS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}


class Memory:
    """The bytes that kernels get addresses of."""

    def __init__(self) -> None:
        self._bytes = _reserve(ARENA)
        self.views = {size: self._bytes.view(item) for size, item in ITEMS.items()}
        self._starts: list[int] = []  # of allocations in use, sorted
        self._ends: list[int] = []
        self._spans: dict[int, tuple[int, int]] = {}  # address -> where its span begins, its size
        self._free: dict[int, list[int]] = {}  # size of a span -> where they begin
        self._given_back: list[int] = []  # addresses that are yet to be taken from the above
        self._cursor = BASE
        # For every granule, the stamp of the thread that wrote it last. Launches count on.
        self.writers, self._stamp = _reserve(4 * ARENA).view(np.uint32), 0
        self.symbols: dict = {}  # module's variables -> addresses

    def allocate(self, size: int, align: int = 256, offset: int = 0, fill: bool = True) -> int:
        """Return an address with address % align == offset % align.

        fill: without it bytes stay as they are, so that pages cost nothing until they are touched.
        """
        self.settle()
        need = size + align + 2 * RED_ZONE
        span = 1 << max(10, (need - 1).bit_length())
        free = self._free.get(span)
        if free:
            begin = free.pop()
        else:
            begin = self._cursor
            self._cursor += span
            if self._cursor > BASE + ARENA:
                msg = f"the machine's memory is full: need {size} bytes"
                raise MemoryError(msg)
        address = -(-(begin + RED_ZONE) // align) * align + offset % align
        place = bisect.bisect_left(self._starts, address)
        self._starts.insert(place, address)
        self._ends.insert(place, address + size)
        self._spans[address] = begin, span
        if fill:
            self.view(address, size)[...] = 0xFF
        return address

    def free(self, address: int) -> None:
        """Take an allocation back: from the next launch on nobody may touch it.

        A garbage collector may call this at any time, so this does no more than note it.
        """
        self._given_back.append(address)

    def settle(self) -> None:
        """Do what `free` has noted."""
        while self._given_back:
            address = self._given_back.pop()
            begin, span = self._spans.pop(address)
            place = bisect.bisect_left(self._starts, address)
            del self._starts[place], self._ends[place]
            self._free.setdefault(span, []).append(begin)

    def view(self, address: int, size: int) -> np.ndarray:
        """Return the bytes themselves, which may be written."""
        self.settle()
        if not self.holds(address, address + size):
            msg = f"no allocation holds {size} bytes at {address:#x}"
            raise ValueError(msg)
        return self._bytes[address - BASE : address - BASE + size]

    def holds(self, low: int, high: int) -> bool:
        """Return whether one allocation holds the bytes from low to high."""
        place = bisect.bisect_right(self._starts, low) - 1
        return place >= 0 and high <= self._ends[place]

    def inside(self, addresses, size) -> np.ndarray:
        """Return which accesses lie in an allocation each."""
        starts = np.array([0, *self._starts], np.uint64)
        ends = np.array([0, *self._ends], np.uint64)
        ends = ends[np.searchsorted(starts, addresses, "right") - 1]
        return (addresses < ends) & (ends - addresses >= size)

    def stamps(self, threads: int) -> int:
        """Reserve stamps for the threads of a launch; return the one before the first."""
        self.settle()
        if self._stamp + threads >= 2**32:
            self.writers, self._stamp = _reserve(4 * ARENA).view(np.uint32), 0
        self._stamp += threads
        return self._stamp - threads


def _reserve(size) -> np.ndarray:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), np.uint8)
