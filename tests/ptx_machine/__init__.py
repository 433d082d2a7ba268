# SPDX-License-Identifier: Apache-2.0
"""A machine that executes PTX in NumPy, and judges it. See README.md."""

import math

import numpy as np

from ptx_machine.counters import Counters
from ptx_machine.faults import Fault, UnknownInstruction
from ptx_machine.inline import flatten
from ptx_machine.instructions import find
from ptx_machine.launch import Launch
from ptx_machine.memory import Memory
from ptx_machine.parse import parse
from ptx_machine.schedule import Schedule
from ptx_machine.translate import translate

__all__ = ["Counters", "Fault", "Memory", "Module", "UnknownInstruction"]

RESIDENT = 1 << 14  # threads that run at the same time, about; their registers fit caches
RESIDENT_BYTES = 1 << 26  # of their shared memory


class Module:
    """A text of PTX. UnknownInstruction: the machine does not know all that is in it."""

    def __init__(self, text: str) -> None:
        self._functions, self._variables = parse(text)
        self._programs: dict = {}
        for function in self._functions.values():
            for item in function.body:
                opcode = getattr(item, "opcode", None)
                if opcode and find(opcode) is None:
                    raise UnknownInstruction(opcode, function.name, item.line)

    def launch(self, entry, grid, block, arguments, memory, shared=0, counters=None) -> None:
        """Run an entry to its end. Fault: what it did wrong, first.

        grid, block: an integer or a tuple of up to three. arguments: an address as an integer, a
        NumPy scalar, an array of one structure. shared: bytes of dynamic shared memory.
        counters: Counters, which count what the launch does.
        """
        program = self._program(entry)
        grid, block = _three(grid), _three(block)
        threads, blocks = math.prod(block), math.prod(grid)
        if threads > program.entry.most_threads:
            msg = f"{entry}: {threads} threads a block; at most {program.entry.most_threads}"
            raise ValueError(msg)
        content, offsets = _packed(program.entry, arguments)
        addresses, sizes = self._addresses(program, memory, shared)
        at = None  # where the parameters are, if their addresses are taken
        if program.symbols & offsets.keys():
            at = memory.allocate(len(content))
            memory.view(at, len(content))[...] = np.frombuffer(content, np.uint8)
            addresses |= {name: at + offset for name, offset in offsets.items()}
        launch = Launch(program, grid, block, memory, (content, offsets), addresses, sizes)
        together = min(RESIDENT // threads, RESIDENT_BYTES // max(1, sizes["shared"]))
        together = max(1, together)
        try:
            with np.errstate(all="ignore"):
                for first in range(0, blocks, together):
                    launch.begin(first, min(together, blocks - first))
                    if counters is not None:
                        counters.attach(launch)
                    Schedule(launch, counters).run()
        finally:
            if at is not None:
                memory.free(at)

    def _program(self, entry):
        if entry not in self._programs:
            function = self._functions.get(entry)
            if function is None or not function.is_entry:
                msg = f"no entry {entry}; there are {sorted(self._functions)}"
                raise KeyError(msg)
            flat = flatten(self._functions, function)
            self._programs[entry] = translate(flat, self._variables)
        return self._programs[entry]

    def _addresses(self, program, memory, dynamic):
        """Return where variables lie in their spaces, and how large those of a launch are."""
        known = memory.symbols.setdefault(self, {})  # what is in global memory stays there
        addresses, sizes = {}, {"shared": 0, "local": 0}
        # Arrays without a size come last, and share a place.
        for variable in sorted(program.variables, key=lambda x: (x.size == 0, -x.align)):
            name, space = variable.name, variable.space
            if space in sizes:
                addresses[name] = -(-sizes[space] // variable.align) * variable.align
                sizes[space] = addresses[name] + variable.size
                continue
            if name not in known:
                known[name] = memory.allocate(variable.size, max(variable.align, 16))
                content = variable.content.ljust(variable.size, b"\0")
                view = memory.view(known[name], variable.size)
                view[...] = np.frombuffer(content, np.uint8)
            addresses[name] = known[name]
        sizes["shared"] += dynamic
        return addresses, sizes


def _three(size):
    size = tuple(size) if isinstance(size, tuple | list) else (size,)
    return (*map(int, size), 1, 1)[:3]


def _packed(entry, arguments):
    """Lay arguments out as the entry's parameters; return the bytes and where each begins."""
    if len(arguments) != len(entry.parameters):
        msg = f"{entry.name}: {len(arguments)} arguments; need {len(entry.parameters)}"
        raise TypeError(msg)
    out, offsets = bytearray(), {}
    for parameter, argument in zip(entry.parameters, arguments, strict=True):
        content = np.uint64(argument) if isinstance(argument, int) else argument
        if content.nbytes != parameter.size:
            msg = f"{entry.name}: {parameter.name} got {content.nbytes} bytes; "
            msg += f"need {parameter.size}"
            raise TypeError(msg)
        out.extend(bytes(-len(out) % parameter.align))
        offsets[parameter.name] = len(out)
        out += content.tobytes()
    return bytes(out), offsets
