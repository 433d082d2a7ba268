# SPDX-License-Identifier: Apache-2.0
"""Basic blocks of an entry, in the order of its text, and the registers that live between them.

A guarded instruction becomes a branch around one without a guard. A barrier is a block of its own.
An instruction of whole warps begins a block, unless the one before it in its block names the same
lanes: lanes wait for each other only where blocks begin.
"""

import re
from collections import Counter
from typing import Any

from ptx_machine.syntax import (
    Immediate,
    Instruction,
    Label,
    Negated,
    Register,
    mapped,
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
        self.condition: Any = None  # of a branch
        self.target: Any = None
        self.barrier: Any = None  # Instruction
        self.live_out: set = set()
        self.live_in: set = set()
        self.function: Any = None
        self.line: Any = None

    def followers(self):
        if self.end == "exit":
            return []
        if self.end == "branch":
            return [self.target] if self.condition is None else [self.target, self.number + 1]
        return [self.number + 1]


def results_of(instruction):
    """Return the operands that an instruction writes."""
    opcode = instruction.opcode
    if not instruction.operands or (_WITHOUT_RESULT.match(opcode) and ".red." not in opcode):
        return ()
    return instruction.operands[:1]


def defined(instruction):
    return [r for x in results_of(instruction) for r in registers(x)]


def used(instruction):
    sources = instruction.operands[len(results_of(instruction)) :]
    return [r for x in sources for r in registers(x)]


def build(body) -> list[Block]:
    """Cut a body without calls into blocks."""
    body = _constants_written_in(_without_guards(body))
    blocks = [Block(0)]
    places = {}
    lanes = None  # that are known to be here

    def begin():
        blocks.append(Block(len(blocks)))
        return blocks[-1]

    block = blocks[0]
    fresh = True  # nothing in this block yet
    for item in body:
        if isinstance(item, Label):
            if not fresh:
                block, fresh, lanes = begin(), True, None
            places[item.name] = block.number
            continue
        if block.end != "next":
            block, fresh, lanes = begin(), True, None
        opcode = item.opcode
        meeting = _meeting(item)
        if meeting and (meeting != lanes or BARRIER.fullmatch(opcode)):
            if not fresh:
                block = begin()
            lanes = meeting
            block.lanes, block.whole = meeting
            block.line = item.line
        elif BARRIER.fullmatch(opcode) and not fresh:
            block = begin()
        fresh = False
        block.line = block.line or item.line
        if opcode in BRANCHES:
            block.end, block.target, block.condition = "branch", item.operands[0].name, item.guard
        elif opcode in EXITS:
            block.end = "exit"
        elif BARRIER.fullmatch(opcode):
            block.end, block.barrier = "barrier", item
        else:
            block.body.append(item)
            if lanes and lanes[0] in defined(item):
                lanes = None
    if block.end == "next":
        block.end = "exit"
    for block in blocks:
        if block.end == "branch":
            block.target = places[block.target]
    if any(n >= len(blocks) for block in blocks for n in block.followers()):
        block = Block(len(blocks))
        block.end = "exit"
        blocks.append(block)
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


def _constants_written_in(body):
    """Write constants where registers stand that hold nothing else, ever."""
    items = [x for x in body if isinstance(x, Instruction)]
    times = Counter(r for x in items for r in defined(x))
    constants = {
        x.operands[0]: x.operands[1]
        for x in items
        if x.opcode.startswith("mov.") and isinstance(x.operands[1], Immediate)
        and isinstance(x.operands[0], Register) and times[x.operands[0]] == 1
        and x.operands[0].width > 1
    }  # fmt: skip

    def written(x):
        found = constants.get(x) if isinstance(x, Register) else None
        return x if found is None else Immediate(found.bits & (1 << x.width) - 1)

    out = []
    for x in body:
        if isinstance(x, Label):
            out.append(x)
        elif not (x.opcode.startswith("mov.") and x.operands[0] in constants):
            n = len(results_of(x))
            operands = (*x.operands[:n], *(mapped(written, y) for y in x.operands[n:]))
            out.append(x._replace(operands=operands))
    return out


def _find_live(blocks) -> None:
    """Find what is read after a block before it is written."""
    reads, writes, before = [], [], [set() for _ in blocks]
    for block in blocks:
        read, written = set(), set()
        last = [block.barrier] if block.barrier else []
        for item in block.body + last:
            read.update(r for r in used(item) if r not in written)
            written.update(defined(item))
        if block.condition is not None:
            read.update(r for r in registers(block.condition) if r not in written)
        if block.lanes is not None:
            read.update(registers(block.lanes))
        reads.append(read)
        writes.append(written)
    for block in blocks:
        for n in block.followers():
            before[n].add(block.number)
    work = list(range(len(blocks)))
    while work:
        n = work.pop()
        block = blocks[n]
        block.live_out = set().union(*(blocks[x].live_in for x in block.followers()))
        live = reads[n] | (block.live_out - writes[n])
        if live != block.live_in:
            block.live_in = live
            work.extend(before[n])
    # What the barrier itself reads must be in its place, too.
    for block in blocks:
        if block.barrier:
            block.live_out = block.live_out | set(used(block.barrier))
