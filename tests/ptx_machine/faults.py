# SPDX-License-Identifier: Apache-2.0
"""What the machine reports: mistakes of a kernel, and instructions that it does not know."""


class UnknownInstruction(Exception):
    """A text has something in it whose meaning the machine does not know."""

    def __str__(self) -> str:
        return " ".join(map(str, self.args))


class Fault(Exception):
    """A kernel did what it must not do.

    thread, other: ((block's x, y, z), (thread's x, y, z)). Of a race, `other` is a thread of the
    other warp; of a double write, the thread that wrote before. line: in the innermost function;
    `where` has its file and the lines that called it.
    """

    def __init__(self, kind, kernel, where, thread, address=None, other=None) -> None:
        self.kind = kind
        self.kernel = kernel
        self.line = where.number
        self.where = where
        self.thread = thread
        self.address = address
        self.other = other
        super().__init__(kind, kernel, where, thread, address, other)

    def __str__(self) -> str:
        block, thread = self.thread
        where = "" if self.address is None else f", at address {self.address:#x}"
        text = f"{self.kind}: {self.kernel}, {self.where}, "
        text += f"block {block}, thread {thread}{where}"
        if self.other is not None:
            text += f"; against block {self.other[0]}, thread {self.other[1]}"
        return text
