# SPDX-License-Identifier: Apache-2.0
"""Operands of instructions as Python expressions, and results as assignments."""

import numpy as np

from ptx_machine.faults import UnknownInstruction
from ptx_machine.opcodes import Access
from ptx_machine.syntax import (
    SPECIAL,
    WIDTHS,
    Immediate,
    Negated,
    Register,
    Sink,
    Symbol,
)

UNSIGNED = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}


class Expressions:
    """The names of registers and constants in the code of an entry."""

    def __init__(self, flat, symbols) -> None:
        self.flat = flat
        self.module_symbols = symbols
        self.constants: dict = {}  # by their names in the code
        self.names: dict = {}  # the other way around
        self.numbers: dict = {}  # Register -> number
        self.dtypes: list = []  # of registers, by number
        self.symbols: set = set()  # variables that are named
        self.temporaries = 0
        self.kept: set = set()  # registers that the block leaves behind
        self.text: list[str] = []  # of the block

    def number(self, register) -> int:
        found = self.numbers.get(register)
        if found is None:
            found = self.numbers[register] = len(self.dtypes)
            self.dtypes.append(UNSIGNED[register.width])
        return found

    def variable(self, register) -> str:
        return f"v{self.number(register)}"

    def constant(self, value, prefix="k") -> str:
        key = (prefix, type(value), value)
        found = self.names.get(key)
        if found is None:
            found = self.names[key] = f"{prefix}{len(self.constants)}"
            self.constants[found] = value
        return found

    def temporary(self) -> str:
        self.temporaries += 1
        return f"t{self.temporaries}"

    def use(self, operand, kind) -> str:
        """Return an operand as an expression of unsigned integers as wide as a type."""
        width = WIDTHS[kind]
        if isinstance(operand, Register):
            name = self.variable(operand)
            if operand.width == width:
                return name
            if operand.width < width or width == 1:
                raise UnknownInstruction(kind, "from", operand)
            return f"{name}.astype({self.constant(UNSIGNED[width], 'd')})"
        if isinstance(operand, Negated):
            return f"~{self.use(operand.register, kind)}"
        if isinstance(operand, Immediate):
            return self.constant(UNSIGNED[width](operand.bits & (1 << width) - 1))
        if isinstance(operand, Symbol):
            return self.symbol(operand.name, width)
        raise UnknownInstruction(operand)

    def symbol(self, name, width) -> str:
        """Return a special register, or the address of a variable in its space."""
        if SPECIAL.fullmatch(name):
            value = f"lanes.get({name!r})"
            return (
                value if width == 32 else f"{value}.astype({self.constant(UNSIGNED[width], 'd')})"
            )
        dtype = self.constant(UNSIGNED[width], "d")
        if name in self.module_symbols and self.module_symbols[name].space != "shared":
            self.symbols.add(name)
            return f"{dtype}(m.symbols[{name!r}])"
        if name not in self.flat.variables and name not in self.module_symbols:
            if name not in {x.name for x in self.flat.parameters}:
                raise UnknownInstruction(name)
            self.symbols.add(name)
            return f"{dtype}(m.address_of_parameter({name!r}))"
        self.symbols.add(name)
        return f"{dtype}(m.places[{name!r}])"

    def define(self, operand, value, kind, fresh=True) -> None:
        """Put a value of a type in a register, extended if that is wider."""
        if isinstance(operand, Sink):
            return
        if not isinstance(operand, Register):
            raise UnknownInstruction(operand)
        width, name = WIDTHS[kind], self.variable(operand)
        if operand.width < width:
            raise UnknownInstruction(kind, "to", operand)
        if operand.width > width:
            if kind[0] == "s":
                value = f"{value}.view({self.constant(SIGNED[width], 'd')})"
                value += f".astype({self.constant(SIGNED[operand.width], 'd')})"
                value += f".view({self.constant(UNSIGNED[operand.width], 'd')})"
            else:
                value = f"{value}.astype({self.constant(UNSIGNED[operand.width], 'd')})"
        elif not fresh and operand in self.kept:
            value += ".copy()"
        self.text.append(f"{name} = {value}")

    def address(self, operand, width=64) -> str:
        base = self.use(operand.base, f"u{_width(operand.base, width)}")
        if operand.offset == 0:
            return base
        dtype = UNSIGNED[_width(operand.base, width)]
        bits = _width(operand.base, width)
        return f"({base} + {self.constant(dtype(operand.offset & (1 << bits) - 1))})"

    def line(self, item) -> str:
        return self.constant(item.line, "line")

    def access(self, *fields) -> str:
        return self.constant(Access(*fields), "a")


def _width(base, width) -> int:
    return base.width if isinstance(base, Register) else width
