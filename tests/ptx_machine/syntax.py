# SPDX-License-Identifier: Apache-2.0
"""What a text of PTX is made of: operands, instructions, variables, functions."""

import re
from typing import Any, NamedTuple

WIDTHS = {"pred": 1, **{f"{kind}{w}": w for kind in "bus" for w in (8, 16, 32, 64)},
          "f16": 16, "f16x2": 32, "f32": 32, "f64": 64}  # fmt: skip


class Register(NamedTuple):
    name: str
    width: int  # in bits; 1 is a predicate


class Negated(NamedTuple):
    register: Register


class Immediate(NamedTuple):
    bits: int


class Symbol(NamedTuple):
    """A variable, a parameter, a function, or a special register."""

    name: str


SINK = Symbol("_")  # a result that nobody wants


class Label(NamedTuple):
    name: str


class Address(NamedTuple):
    base: Any  # Register, Symbol or Immediate
    offset: int


class Vector(NamedTuple):
    """Several in braces, or two results, p|q."""

    parts: tuple


def mapped(function, operand):
    """Return an operand with its parts, and their parts, replaced by a function of them."""
    if isinstance(operand, Vector):
        return Vector(tuple(mapped(function, x) for x in operand.parts))
    if isinstance(operand, Negated):
        return Negated(function(operand.register))
    if isinstance(operand, Address):
        return Address(function(operand.base), operand.offset)
    return function(operand)


def registers(operand) -> list:
    """Return the registers in an operand."""
    if isinstance(operand, Vector):
        return [r for x in operand.parts for r in registers(x)]
    if isinstance(operand, Negated):
        return [operand.register]
    if isinstance(operand, Address):
        operand = operand.base
    return [operand] if isinstance(operand, Register) else []


class Variable(NamedTuple):
    name: str
    space: str
    align: int
    size: int  # in bytes; 0 for an array without a size
    content: bytes  # as far as given; empty if not


class Line(NamedTuple):
    """A line of the source, and the one that it was inlined at."""

    number: int
    file: str
    outer: Any = None

    def __str__(self) -> str:
        text = f"{self.file} line {self.number}"
        return f"{text}, from {self.outer}" if self.outer else text


class Instruction(NamedTuple):
    opcode: str
    operands: tuple
    guard: Register | Negated | None
    line: Line


class Function(NamedTuple):
    name: str
    is_entry: bool
    parameters: tuple  # of Variable
    results: tuple
    body: list  # of Instruction and Label
    variables: dict  # name -> Variable, of shared, local and parameter memory
    most_threads: int  # in a block


SPECIAL = re.compile(r"%(n?tid|n?ctaid)\.[xyz]|%laneid|%lanemask_(lt|ge)")
