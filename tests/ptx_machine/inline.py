# SPDX-License-Identifier: Apache-2.0
"""An entry with the functions that it calls written into it, so that there are no calls.

Arguments and results of calls become registers, one for each place that is stored to.
"""

import re
from typing import NamedTuple

from ptx_machine.faults import UnknownInstruction
from ptx_machine.syntax import (
    WIDTHS,
    Address,
    Instruction,
    Label,
    Negated,
    Pair,
    Register,
    Symbol,
    Vector,
)

DEPTH = 30
_PARAMETER = re.compile(r"(ld|st)\.param(?:\.v([24]))?\.(\w+)")


class Flat(NamedTuple):
    """An entry without calls."""

    name: str
    parameters: tuple
    most_threads: int
    body: list  # of Instruction and Label
    variables: dict  # of shared and local memory


def flatten(text, entry) -> Flat:
    body: list = []
    variables: dict = {}
    _Writer(text, body, variables).write(entry, "", {}, None, 0)
    return Flat(entry.name, entry.parameters, entry.most_threads, body, variables)


class _Writer:
    def __init__(self, text, body, variables) -> None:
        self.text = text
        self.body = body
        self.variables = variables
        self.calls = 0

    def write(self, function, suffix, bound, after, depth) -> None:
        """Write a function's body. bound: its parameters' and results' names -> the caller's."""
        own = {}
        for name, variable in function.variables.items():
            # One shared variable is the same in all calls.
            own[name] = name if variable.space == "shared" else name + suffix
            if variable.space != "param":
                self.variables[own[name]] = variable._replace(name=own[name])
            else:
                bound = {**bound, name: own[name]}

        def renamed(x):
            if isinstance(x, Register):
                return Register(x.name + suffix, x.width)
            if isinstance(x, Label):
                return Label(x.name + suffix)
            if isinstance(x, Symbol):
                return Symbol(own.get(x.name, x.name))
            if isinstance(x, Negated):
                return Negated(renamed(x.register))
            if isinstance(x, Vector):
                return Vector(tuple(map(renamed, x.parts)))
            if isinstance(x, Pair):
                return Pair(renamed(x.first), renamed(x.second))
            if isinstance(x, Address) and not isinstance(x.base, Symbol):
                return Address(renamed(x.base), x.offset)
            if isinstance(x, Address):
                return Address(Symbol(own.get(x.base.name, x.base.name)), x.offset)
            return x

        for item in function.body:
            if isinstance(item, Label):
                self.body.append(renamed(item))
                continue
            guard = item.guard and renamed(item.guard)
            if item.opcode in ("call", "call.uni"):
                self._call(item, guard, bound, depth)
            elif item.opcode in ("ret", "ret.uni") and after:
                self.body.append(Instruction("bra", (after,), guard, item.line))
            else:
                moves = self._parameter(item, bound)
                for opcode, operands in moves or [(item.opcode, item.operands)]:
                    operands = tuple(x if moves and isinstance(x, _Passed) else renamed(x)
                                     for x in operands)  # fmt: skip
                    operands = tuple(x.register if isinstance(x, _Passed) else x for x in operands)
                    self.body.append(Instruction(opcode, operands, guard, item.line))

    def _call(self, item, guard, bound, depth) -> None:
        results, name, arguments = item.operands
        callee = self.text.functions.get(name.name)
        if callee is None or guard or depth > DEPTH:
            raise UnknownInstruction(item.opcode, name.name)
        self.calls += 1
        given = [bound[x.name] for x in (*arguments.parts, *results.parts)]
        names = [x.name for x in (*callee.parameters, *callee.results)]
        after = Label(f"{callee.name}^{self.calls}^after")
        self.write(callee, f"^{self.calls}", dict(zip(names, given, strict=True)), after, depth + 1)
        self.body.append(after)

    def _parameter(self, item, bound):
        """Return the moves that an access to a call's argument becomes; None if it is none."""
        found = _PARAMETER.fullmatch(item.opcode)
        if found is None:
            return None
        place, value = item.operands if found[1] == "st" else item.operands[::-1]
        base = place.base
        if not isinstance(base, Symbol) or base.name not in bound:
            return None
        width = WIDTHS[found[3]]
        moves = []
        for i, part in enumerate(value.parts if isinstance(value, Vector) else (value,)):
            offset = place.offset + i * width // 8
            passed = _Passed(Register(f"{bound[base.name]}[{offset}:{width}]", width))
            both = (passed, part) if found[1] == "st" else (part, passed)
            moves.append((f"mov.{found[3]}", both))
        return moves


class _Passed(NamedTuple):
    """A register that both the caller and the callee know."""

    register: Register
