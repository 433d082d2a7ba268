# SPDX-License-Identifier: Apache-2.0
"""Basic blocks of an entry, in the order of its text, and the registers that live between them.

A guarded instruction becomes a branch around one without a guard. A barrier is a block of its own.
An instruction of whole warps begins a block, unless the one before it in its block names the same
lanes: lanes wait for each other only where blocks begin.
"""

import re
from typing import Any

from ptx_machine.syntax import (
    Immediate,
    Instruction,
    Label,
    Line,
    Negated,
    registers,
)

EXITS = ("ret", "exit", "ret.uni")
BRANCHES = ("bra", "bra.uni")
ALL_LANES = Immediate(0xFFFFFFFF)
# bar.sync, barrier.sync, bar.red.popc.u32, ...
BARRIER = re.compile(
    r"(?P<name>bar|barrier)(?:\.cta)?\.(?:sync|red)(?P<aligned>\.aligned)?"
    r"(?:\.(?P<red>popc|and|or)\.(?:u32|pred))?"
)
WARP_BARRIER = re.compile(r"(bar|barrier)\.warp\.sync")
_WITHOUT_RESULT = re.compile(r"(st|red|bra|bar|barrier|cp|ret|exit|membar|fence|trap)\b")


class Block:
    """Instructions that are executed one after another, by the same lanes."""

    def __init__(self, number) -> None:
        self.number = number
        self.body: list[Instruction] = []
        self.lanes: Any = None  # if lanes meet at its start: the operand that names them
        self.whole = False  # and whether these must be the 32 of a warp
        self.end = "next"  # next, branch, exit or barrier
        self.last: Any = None  # the instruction that is one of those
        self.target: Any = None  # of a branch
        self.live_out: set = set()
        self.live_in: set = set()
        self.function: Any = None
        self.line: Any = None

    def followers(self):
        target = [self.target] if self.end == "branch" else []
        goes_on = self.end in ("next", "barrier") or (target and self.last.guard)
        return [*target, self.number + 1] if goes_on else target

    def items(self):
        return self.body + [self.last] * (self.last is not None)


def results_of(instruction):
    """Return the operands that an instruction writes."""
    opcode = instruction.opcode
    if not instruction.operands or (_WITHOUT_RESULT.match(opcode) and ".red." not in opcode):
        return ()
    return instruction.operands[:1]


def defined(instruction):
    return [r for x in results_of(instruction) for r in registers(x)]


def used(instruction):
    sources = (*instruction.operands[len(results_of(instruction)) :], instruction.guard)
    return [r for x in sources for r in registers(x)]


def build(body) -> list[Block]:
    """Cut a body without calls into blocks."""
    blocks = [Block(0)]
    places = {}  # of labels
    lanes = None  # that are known to be here

    def begin():
        if blocks[-1].items():
            blocks.append(Block(len(blocks)))
        return blocks[-1]

    for item in [*_without_guards(body), Instruction("ret", (), None, Line(0, ""))]:
        if isinstance(item, Label):
            places[item.name] = begin().number
            lanes = None
            continue
        opcode, meeting = item.opcode, _meeting(item)
        is_barrier = BARRIER.fullmatch(opcode)
        block = blocks[-1]
        if block.last or is_barrier or (meeting and meeting != lanes):
            block, lanes = begin(), meeting
            block.lanes, block.whole = meeting or (None, False)
        block.line = block.line or item.line
        if opcode in BRANCHES:
            block.end, block.target = "branch", item.operands[0].name
        elif opcode in EXITS:
            block.end = "exit"
        elif is_barrier:
            block.end = "barrier"
        else:
            block.body.append(item)
            if lanes and lanes[0] in defined(item):
                lanes = None
        if block.end != "next":
            block.last = item
    for block in blocks:
        if block.end == "branch":
            block.target = places[block.target]
    _find_live(blocks)
    return blocks


def _meeting(item):
    """Return the lanes that must be at an instruction, and if they must be whole warps; or None."""
    opcode = item.opcode
    if opcode.startswith(("mma.", "ldmatrix.")):
        return ALL_LANES, True
    if opcode.startswith(("shfl.sync", "vote.sync")):
        return item.operands[-1], False
    if WARP_BARRIER.fullmatch(opcode):
        return item.operands[0], False
    found = BARRIER.fullmatch(opcode)
    if found and (found["name"] == "bar" or found["aligned"]):
        return ALL_LANES, False
    return None


def _without_guards(body):
    """Branch around guarded instructions; guarded exits stay, as branches to the end."""
    out = []
    for n, item in enumerate(body):
        if isinstance(item, Label) or item.guard is None or item.opcode in BRANCHES:
            out.append(item)
            continue
        after = Label(f"after the guarded {n}")
        guard = item.guard
        inverse = guard.register if isinstance(guard, Negated) else Negated(guard)
        out += [Instruction("bra", (after,), inverse, item.line), item._replace(guard=None), after]
    return out


def _find_live(blocks) -> None:
    """Find what is read after a block before it is written."""
    reads, writes = [], []
    for block in blocks:
        read, written = set(registers(block.lanes)), set()
        for item in block.items():
            read.update(r for r in used(item) if r not in written)
            written.update(defined(item))
        reads.append(read)
        writes.append(written)
    changed = True
    while changed:
        changed = False
        for block in reversed(blocks):
            block.live_out = set().union(*(blocks[n].live_in for n in block.followers()))
            live = reads[block.number] | (block.live_out - writes[block.number])
            changed = changed or live != block.live_in
            block.live_in = live
    # What the barrier itself reads must be in its place, too.
    for block in blocks:
        if block.end == "barrier":
            block.live_out |= set(used(block.last))
