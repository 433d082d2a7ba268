# SPDX-License-Identifier: Apache-2.0
"""Operands of instructions as Python expressions, and results as assignments."""

import numpy as np

from ptx_machine.faults import UnknownInstruction
from ptx_machine.syntax import SINK, SPECIAL, WIDTHS, Immediate, Negated, Register, Symbol

UNSIGNED = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}


class Expressions:
    """The names of registers and constants in the code of an entry."""

    def __init__(self) -> None:
        self.constants: dict = {}  # by their names in the code
        self.names: dict = {}  # the other way around
        self.numbers: dict = {}  # Register -> number
        self.dtypes: list = []  # of registers, by number
        self.symbols: set = set()  # variables and parameters whose addresses are taken
        self.kept: set = set()  # registers that the block leaves behind
        self.temporaries = 0
        self.text: list[str] = []  # of the block

    def number(self, register) -> int:
        if register not in self.numbers:
            self.numbers[register] = len(self.dtypes)
            self.dtypes.append(UNSIGNED[register.width])
        return self.numbers[register]

    def variable(self, register) -> str:
        return f"v{self.number(register)}"

    def constant(self, value) -> str:
        key = type(value), value
        if key not in self.names:
            self.names[key] = f"k{len(self.names)}"
            self.constants[self.names[key]] = value
        return self.names[key]

    def temporary(self, value=None) -> str:
        """Return a fresh name, of a value if there is one."""
        self.temporaries += 1
        name = f"t{self.temporaries}"
        if value is not None:
            self.text.append(f"{name} = {value}")
        return name

    def cast(self, value, dtype) -> str:
        return f"{value}.astype({self.constant(dtype)})"

    def use(self, operand, kind) -> str:
        """Return an operand as an expression of unsigned integers as wide as a type."""
        width = WIDTHS[kind]
        dtype = UNSIGNED[width]
        if isinstance(operand, Register):
            name = self.variable(operand)
            if operand.width == width:
                return name
            if operand.width < width or width == 1:
                raise UnknownInstruction(kind, "from", operand)
            return self.cast(name, dtype)
        if isinstance(operand, Negated):
            return f"~{self.use(operand.register, kind)}"
        if isinstance(operand, Immediate):
            return self.constant(dtype(operand.bits & (1 << width) - 1))
        if not isinstance(operand, Symbol):
            raise UnknownInstruction(operand)
        if SPECIAL.fullmatch(operand.name):
            value = f"lanes.get({operand.name!r})"
            return value if width == 32 else self.cast(value, dtype)
        self.symbols.add(operand.name)
        return f"{self.constant(dtype)}(m.addresses[{operand.name!r}])"

    def address(self, operand) -> str:
        """Return what an address is, in registers' width; in 64 bits if there is no register."""
        base = operand.base
        width = base.width if isinstance(base, Register) else 64
        value = self.use(base, f"u{width}")
        if operand.offset == 0:
            return value
        offset = UNSIGNED[width](operand.offset & (1 << width) - 1)
        return f"({value} + {self.constant(offset)})"

    def define(self, operand, value, kind, fresh=True) -> None:
        """Put a value of a type in a register, extended if that is wider."""
        if operand == SINK:
            return
        width = WIDTHS[kind]
        if not isinstance(operand, Register) or operand.width < width:
            raise UnknownInstruction(kind, "to", operand)
        if operand.width > width and kind[0] == "s":
            value = f"{value}.view({self.constant(SIGNED[width])})"
            value = self.cast(value, SIGNED[operand.width])
            value = f"{value}.view({self.constant(UNSIGNED[operand.width])})"
        elif operand.width > width:
            value = self.cast(value, UNSIGNED[operand.width])
        elif not fresh and operand in self.kept:
            value += ".copy()"
        self.text.append(f"{self.variable(operand)} = {value}")
