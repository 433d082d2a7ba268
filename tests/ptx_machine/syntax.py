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


class Label(NamedTuple):
    name: str


class Address(NamedTuple):
    base: Any  # Register, Symbol or Immediate
    offset: int


class Vector(NamedTuple):
    parts: tuple


class Pair(NamedTuple):
    """Two results, p|q."""

    first: Any
    second: Any


class Sink(NamedTuple):
    """A result that nobody wants, _."""


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


class Text(NamedTuple):
    functions: dict
    variables: dict


SPECIAL = re.compile(r"%(n?tid|n?ctaid)\.[xyz]|%laneid|%lanemask_(lt|le|gt|ge|eq)|%warpid|%nwarpid")
