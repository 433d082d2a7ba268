# SPDX-License-Identifier: Apache-2.0
"""From PTX to Python: a function for every basic block.

In a block a register is a variable: an array over the lanes that are there, or a scalar where all
have the same value. A block gets what it reads from the launch's registers and puts back what is
read after it, so that there is no masked code.
"""

from typing import NamedTuple

from ptx_machine import blocks as control
from ptx_machine.faults import UnknownInstruction
from ptx_machine.instructions import PURE, Instructions, find
from ptx_machine.syntax import Function, registers


class Program(NamedTuple):
    """An entry as the scheduler wants it."""

    entry: Function
    blocks: list
    registers: list  # dtypes, by number
    numbers: dict  # Register -> number
    granule: dict  # space -> bytes of the narrowest access
    symbols: set  # variables and parameters whose addresses are taken
    variables: list  # those of `symbols` that are variables


def translate(entry, variables) -> Program:
    """Translate an entry without calls. variables: the module's, by name."""
    blocks = control.build(entry.body)
    writer = _Writer()
    for block in blocks:
        writer.block(block)
    code = compile("\n".join(writer.lines), f"<{entry.name}>", "exec")
    names = dict(writer.constants)
    exec(code, names)
    for block in blocks:
        block.function = names[f"block_{block.number}"]
    known = {**variables, **entry.variables}
    named = [known[name] for name in sorted(writer.symbols) if name in known]
    return Program(entry, blocks, writer.dtypes, writer.numbers, writer.granule, writer.symbols,
                   named)  # fmt: skip


class _Writer(Instructions):
    """Writes blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def block(self, block) -> None:
        self.kept, self.text = block.live_out, []
        guard = block.last.guard if block.end == "branch" else None
        condition = registers(guard)
        reads: set = set()
        written: set = set()
        for items, alive in self._groups(block, condition):
            self.alive = alive
            _, write = find(items[0].opcode)
            results = {r for x in items for r in control.defined(x)}
            if write in PURE and not alive & results:
                continue
            reads.update(r for x in items for r in control.used(x) if r not in written)
            written |= results
            try:
                if write is Instructions.products:
                    self.products(items)
                else:
                    self.instruction(*items)
            except (KeyError, AttributeError, ValueError, IndexError, TypeError) as error:
                raise UnknownInstruction(items[0].opcode, *items[0].operands) from error
        reads.update(r for r in condition if r not in written)
        if condition:
            self.text.append(f"result = {self.use(guard, 'pred')}")
        self._function(block, sorted(reads), sorted(written & block.live_out))

    def _function(self, block, reads, writes) -> None:
        emit = self.lines.append
        emit(f"def block_{block.number}(m, lanes):")
        emit(" R = m.registers; result = None")
        if reads:
            names, places, numbers = self._lists(reads)
            emit(f" if lanes.full: {names} = {places}")
            emit(f" else: {names} = lanes.gather(R, ({numbers}))")
        self.lines.extend(f" {line}" for line in self.text)
        if writes:
            names, places, numbers = self._lists(writes)
            emit(f" if lanes.full: {places} = {names}")
            emit(f" else: lanes.scatter(R, ({numbers}), ({names}))")
        emit(" return result")

    def _lists(self, registers):
        """Return the names of registers, where the launch has them, and their numbers."""
        forms = ("v{},", "R[{}],", "{},")
        return ["".join(form.format(self.number(r)) for r in registers) for form in forms]

    @staticmethod
    def _groups(block, condition):
        """Return instructions, each with what is read after it; independent mmas together."""
        alive = block.live_out | set(condition)
        groups: list = []
        for item in reversed(block.body):
            after, results = alive, set(control.defined(item))
            alive = (alive - results) | set(control.used(item))
            if item.opcode.startswith("mma.") and groups:
                items, _ = groups[-1]
                read = {r for x in items for r in control.used(x)}
                if items[0].opcode == item.opcode and not results & read:
                    items.insert(0, item)
                    continue
            groups.append(([item], after))
        return reversed(groups)
