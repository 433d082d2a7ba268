# SPDX-License-Identifier: Apache-2.0
"""From PTX to Python: a function for every basic block.

In a block a register is a variable: an array over the lanes that are there, or a scalar where all
have the same value. A block gets what it reads from the launch's registers and puts back what is
read after it, so that there is no masked code.
"""

from typing import NamedTuple

from ptx_machine import blocks as control
from ptx_machine.faults import UnknownInstruction
from ptx_machine.instructions import Instructions
from ptx_machine.opcodes import is_pure


class Program(NamedTuple):
    """An entry as the scheduler wants it."""

    name: str
    parameters: tuple
    most_threads: int  # in a block
    variables: dict  # of shared and local memory
    blocks: list
    registers: list  # dtypes, by number
    numbers: dict  # Register -> number
    granule: dict  # space -> bytes of the narrowest access
    symbols: set  # variables that are named


def translate(flat, symbols) -> Program:
    """Translate an entry without calls. symbols: the module's variables, by name."""
    found = control.build(flat.body)
    writer = _Writer(flat, symbols)
    for block in found:
        writer.block(block)
    code = compile("\n".join(writer.lines), f"<{flat.name}>", "exec")
    names: dict = dict(writer.constants)
    exec(code, names)
    for block in found:
        block.function = names[f"block_{block.number}"]
    return Program(flat.name, flat.parameters, flat.most_threads, flat.variables, found,
                   writer.dtypes, writer.numbers, writer.granule, writer.symbols)  # fmt: skip


class _Writer(Instructions):
    """Writes blocks."""

    def __init__(self, flat, symbols) -> None:
        super().__init__(flat, symbols)
        self.lines: list[str] = []

    def block(self, block) -> None:
        self.kept = block.live_out
        after, alive = [], set(block.live_out)
        if block.condition is not None:
            alive.update(control.registers(block.condition))
        for item in reversed(block.body):
            after.append(alive)
            alive = (alive - set(control.defined(item))) | set(control.used(item))
        after.reverse()
        self.text = []
        reads: set = set()
        written: set = set()
        place = 0
        while place < len(block.body):
            items = [block.body[place]]
            if items[0].opcode.startswith("mma."):
                items = self._independent(block.body, place)
            place += len(items)
            self.alive = after[place - 1]
            results = [r for x in items for r in control.defined(x)]
            alone = items[0]
            if is_pure(alone.opcode) and not self.alive.intersection(results):
                continue
            for x in items:
                reads.update(r for r in control.used(x) if r not in written)
            written.update(results)
            try:
                if len(items) > 1 or alone.opcode.startswith("mma."):
                    self.products(items)
                else:
                    self.instruction(alone)
            except (KeyError, AttributeError, ValueError, IndexError, TypeError) as error:
                raise UnknownInstruction(alone.opcode, *alone.operands) from error
        if block.condition is not None:
            reads.update(r for r in control.registers(block.condition) if r not in written)
            self.text.append(f"result = {self.use(block.condition, 'pred')}")
        self._function(block, sorted(reads), sorted(written & block.live_out))

    def _function(self, block, reads, writes) -> None:
        emit = self.lines.append
        emit(f"def block_{block.number}(m, lanes):")
        emit(" R = m.registers; result = None")
        if reads:
            names = "".join(f"{self.variable(r)}, " for r in reads)
            numbers = "".join(f"{self.number(r)}, " for r in reads)
            emit(f" if lanes.full: {names}= {''.join(f'R[{self.number(r)}], ' for r in reads)}")
            emit(f" else: {names}= lanes.gather(R, ({numbers}))")
        self.lines.extend(f" {line}" for line in self.text)
        if writes:
            names = "".join(f"{self.variable(r)}, " for r in writes)
            numbers = "".join(f"{self.number(r)}, " for r in writes)
            emit(f" if lanes.full: {''.join(f'R[{self.number(r)}], ' for r in writes)}= {names}")
            emit(f" else: lanes.scatter(R, ({numbers}), ({names}))")
        emit(" return result")

    @staticmethod
    def _independent(body, place):
        """Return an mma and those after it that read no result of it."""
        first = body[place]
        items, written = [first], set(control.defined(first))
        for item in body[place + 1 :]:
            if item.opcode != first.opcode or written & set(control.used(item)):
                break
            items.append(item)
            written.update(control.defined(item))
        return items
