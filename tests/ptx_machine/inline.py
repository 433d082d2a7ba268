# SPDX-License-Identifier: Apache-2.0
"""An entry with the functions that it calls written into it, so that there are no calls.

Arguments and results of calls become registers, one for each place that is stored to.
"""

import re

from ptx_machine.faults import UnknownInstruction
from ptx_machine.syntax import (
    WIDTHS,
    Function,
    Instruction,
    Label,
    Register,
    Symbol,
    Vector,
    mapped,
)

DEPTH = 30
_PARAMETER = re.compile(r"(ld|st)\.param(?:\.v[24])?\.(\w+)")


def flatten(functions, entry) -> Function:
    """Return an entry without calls; its variables are all that lie in memory."""
    writer = _Writer(functions)
    writer.write(entry, "", {}, None, 0)
    return entry._replace(body=writer.body, variables=writer.variables)


class _Writer:
    def __init__(self, functions) -> None:
        self.functions = functions
        self.body: list = []
        self.variables: dict = {}
        self.passed: set = set()  # the names of arguments and results of calls
        self.calls = 0

    def write(self, function, suffix, names, after, depth) -> None:
        """Write a function's body. names: its parameters and results -> the caller's names."""
        for name, variable in function.variables.items():
            # One shared variable is the same in all calls.
            own = name if variable.space == "shared" else name + suffix
            names[name] = own
            if variable.space == "param":
                self.passed.add(own)
            else:
                self.variables[own] = variable._replace(name=own)

        def renamed(x):
            if isinstance(x, Symbol):
                return Symbol(names.get(x.name, x.name))
            return x._replace(name=x.name + suffix) if isinstance(x, Register | Label) else x

        for item in function.body:
            if isinstance(item, Label):
                self.body.append(renamed(item))
                continue
            operands = tuple(mapped(renamed, x) for x in item.operands)
            guard = item.guard and mapped(renamed, item.guard)
            item = Instruction(item.opcode, operands, guard, item.line)
            if item.opcode in ("call", "call.uni"):
                self._call(item, depth)
            elif item.opcode in ("ret", "ret.uni") and after:
                self.body.append(item._replace(opcode="bra", operands=(after,)))
            else:
                self.body.extend(self._without_parameters(item))

    def _call(self, item, depth) -> None:
        operands = list(item.operands)  # (results), name, (arguments); lists may be missing
        results = operands.pop(0) if isinstance(operands[0], Vector) else Vector(())
        name, arguments = (*operands, Vector(()))[:2]
        callee = self.functions.get(name.name)
        if callee is None or item.guard or depth > DEPTH:
            raise UnknownInstruction(item.opcode, name.name)
        self.calls += 1
        given = (*arguments.parts, *results.parts)
        theirs = (*callee.parameters, *callee.results)
        names = {x.name: mine.name for x, mine in zip(theirs, given, strict=True)}
        after = Label(f"{callee.name}^{self.calls}^after")
        self.write(callee, f"^{self.calls}", names, after, depth + 1)
        self.body.append(after)

    def _without_parameters(self, item):
        """Yield the moves that an access to a call's argument becomes; else the item itself."""
        found = _PARAMETER.fullmatch(item.opcode)
        if found is None:
            yield item
            return
        stores = found[1] == "st"
        place, value = item.operands if stores else item.operands[::-1]
        if not isinstance(place.base, Symbol) or place.base.name not in self.passed:
            yield item
            return
        width = WIDTHS[found[2]]
        for i, part in enumerate(value.parts if isinstance(value, Vector) else (value,)):
            name = f"{place.base.name}[{place.offset + i * width // 8}:{width}]"
            passed = Register(name, width)
            operands = (passed, part) if stores else (part, passed)
            yield item._replace(opcode=f"mov.{found[2]}", operands=operands)
