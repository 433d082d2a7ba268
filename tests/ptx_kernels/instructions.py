# SPDX-License-Identifier: Apache-2.0
"""Tables of instructions: a kernel that executes each of them, and what scalar Python expects.

A family of instructions becomes one kernel, in which every thread has its own operands and keeps
the result of every instruction. Operands and results travel in slots of 64 bits.
"""

import functools
import itertools
import math
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ptx_kernels import PRELUDE, launch, module
from ptx_kernels.scalars import F16, F32, F64, from_bits, to_bits

# A register's type -> its constraint in inline assembly, its C type, the bits that count.
# b8, s8, u8: the low byte of a 32-bit register; a name with `h`: of a 16-bit one.
REGISTERS = {
    **{f"{kind}8": ("r", "uint32", 8) for kind in "bsu"},
    **{f"{kind}8h": ("h", "uint16", 8) for kind in "su"},
    **{f"{kind}16": ("h", "uint16", 16) for kind in "bsuf"},
    **{f"{kind}16r": ("r", "uint32", 16) for kind in "su"},
    **{f"{kind}32": ("r", "uint32", 32) for kind in "bsu"},
    **{f"{kind}64": ("l", "uint64", 64) for kind in "bsu"},
    "f16x2": ("r", "uint32", 32),
    "f32": ("f", "float", 32),
    "f64": ("d", "double", 64),
    "pred": ("r", "uint32", 32),
}
FORMATS = {"f16": F16, "f32": F32, "f64": F64}


class Instruction(NamedTuple):
    """An instruction with registers for operands."""

    name: str
    result: str
    operands: tuple
    meaning: Callable  # of the operands as Python's numbers; None where nothing is defined
    body: str
    since: int  # the first architecture that has it

    def __str__(self) -> str:
        return self.name

    def expected(self, slots):
        """Return what the result's slot holds, or None; a NaN of any payload is math.nan."""
        used = zip(slots, self.operands, strict=False)  # the other slots are not used
        values = (decoded(bits, kind) for bits, kind in used)
        return encoded(self.meaning(*values), self.result)


def op(name, types, meaning, body=None, since=75) -> Instruction:
    """Describe an instruction. types: "result operand operand"; body: its text, if not the name."""
    result, *operands = types.split()
    if body is None:
        places = ", ".join(f"%{i}" for i in range(len(operands) + 1))
        body = f"{name} {places};"
    return Instruction(name, result, tuple(operands), meaning, body, since)


def decoded(bits, kind):
    """Read the low bits of a slot as a number of Python's."""
    width = REGISTERS[kind][2]
    bits &= (1 << width) - 1
    if kind == "f16x2":
        return from_bits(bits & 0xFFFF, F16), from_bits(bits >> 16, F16)
    if kind == "pred":
        return bits != 0
    if kind[0] == "f":
        return from_bits(bits, FORMATS[kind])
    return bits - (bits >> (width - 1) << width) if kind[0] == "s" else bits


def encoded(value, kind):
    """Return the slot in which a result lies."""
    if value is None:
        return None
    if kind == "f16x2":
        return tuple(encoded(x, "f16") for x in value)
    if kind[0] == "f":
        return math.nan if math.isnan(value) else to_bits(value, FORMATS[kind])
    # A value that is narrower than its register is extended as its type says.
    register = {"h": 16, "r": 32, "l": 64}[REGISTERS[kind][0]]
    width = REGISTERS[kind][2]
    value = int(value) & ((1 << width) - 1)
    if kind[0] == "s":
        value -= value >> (width - 1) << width
    return value & ((1 << register) - 1)


def same(slot, want, kind) -> bool:
    """Compare a slot with what was expected."""
    if want is None:
        return True
    if kind == "f16x2":
        halves = (slot & 0xFFFF, slot >> 16)
        return slot >> 32 == 0 and all(same(x, y, "f16") for x, y in zip(halves, want, strict=True))
    if isinstance(want, float):
        return slot >> REGISTERS[kind][2] == 0 and math.isnan(decoded(slot, kind))
    return slot == want


# --------------------------------------------------------------------------------- the kernel

_KERNEL = """
template <typename T> __device__ T load(const uint64* p) { return *(const T*)p; }
template <typename T> __device__ void store(uint64* p, T x) { *(T*)p = x; }

extern "C" __global__ void family(const uint64* a, const uint64* b, const uint64* c, uint64* out,
                                  int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const uint64* const in[] = {a + i, b + i, c + i};
"""


def source_of(family) -> str:
    """Write a kernel that executes all instructions of a family."""
    lines = [PRELUDE, _KERNEL]
    for place, instruction in enumerate(family):
        constraint, c_type, _ = REGISTERS[instruction.result]
        operands = ", ".join(
            f'"{REGISTERS[kind][0]}"(load<{REGISTERS[kind][1]}>(in[{i}]))'
            for i, kind in enumerate(instruction.operands)
        )
        lines.append(
            f'    {{ {c_type} d; asm("{instruction.body}" : "={constraint}"(d) : {operands}); '
            f"store(out + {place}ll * n + i, d); }}"
        )
    return "\n".join([*lines, "}"])


def available(family, architecture):
    return tuple(x for x in family if x.since <= architecture)


def results(family, architecture, slots) -> np.ndarray:
    """Execute a family on rows of three operands; return the results' slots, a row a operation."""
    there = available(family, architecture)
    a, b, c = (np.array(column, np.uint64) for column in zip(*slots, strict=True))
    out = np.zeros((len(there), len(slots)), np.uint64)
    built = module(source_of(there), architecture)
    launch(built, "family", -(-len(slots) // 128), 128, a, b, c, out, np.int32(len(slots)))
    return out


def disagreements(instruction, slots, got, want=None):
    """Return the operands for which a result is wrong, with the result and the right one."""
    want = want or [instruction.expected(row) for row in slots]
    return [
        (*map(hex, row[: len(instruction.operands)]), hex(x), y if y is None else str(y))
        for row, x, y in zip(slots, map(int, got), want, strict=True)
        if not same(x, y, instruction.result)
    ]


class Family:
    """Instructions that share a kernel and the operands it is tried on."""

    def __init__(self, instructions, slots) -> None:
        self.instructions = tuple(instructions)
        self.slots = slots
        self.computed = functools.cache(lambda arch: results(self.instructions, arch, self.slots))
        self.expected = functools.cache(lambda x: [x.expected(row) for row in self.slots])
        names = [instruction.name for instruction in self.instructions]
        assert len(set(names)) == len(names), "an instruction is listed twice"

    def cases(self, architectures):
        """Return every instruction on every architecture that has it."""
        return [
            (architecture, instruction)
            for architecture in architectures
            for instruction in available(self.instructions, architecture)
        ]

    def wrong(self, architecture, instruction):
        """Return where the machine disagrees with scalar Python."""
        place = available(self.instructions, architecture).index(instruction)
        got = self.computed(architecture)[place]
        assert any(want is not None for want in self.expected(instruction))
        return disagreements(instruction, self.slots, got, self.expected(instruction))

    def wrong_on(self, architecture, slots):
        """Return where the machine disagrees on other operands, by instruction."""
        there = available(self.instructions, architecture)
        rows = results(self.instructions, architecture, slots)
        found = {str(x): disagreements(x, slots, row) for x, row in zip(there, rows, strict=True)}
        return {name: where for name, where in found.items() if where}


def name_of(case) -> str:
    architecture, instruction = case
    return f"compute_{architecture}-{instruction}"


def mixed(nasty, width, extra=300, seed=1):
    """Return rows of three operands: every pair of nasty ones with a third, and random rows."""
    draw = random.Random(seed)
    pairs = [(a, b, draw.choice(nasty)) for a, b in itertools.product(nasty, repeat=2)]

    def any_word():
        return draw.choice((draw.choice(nasty), draw.getrandbits(width), draw.getrandbits(7)))

    return pairs + [(any_word(), any_word(), any_word()) for _ in range(extra)]
