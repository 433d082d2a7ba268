# SPDX-License-Identifier: Apache-2.0
"""A machine that executes PTX in NumPy, and judges it. See README.md."""

import math

import numpy as np

from ptx_machine import opcodes, parse, translate
from ptx_machine.faults import Fault, UnknownInstruction
from ptx_machine.inline import flatten
from ptx_machine.launch import Launch
from ptx_machine.memory import Memory
from ptx_machine.schedule import Schedule

__all__ = ["Fault", "Memory", "Module", "UnknownInstruction"]

RESIDENT = 1 << 14  # threads that run at the same time, about; their registers fit caches
RESIDENT_BYTES = 1 << 26  # of their shared memory


class Module:
    """A text of PTX. UnknownInstruction: the machine does not know all that is in it."""

    def __init__(self, text: str) -> None:
        self._text = parse.parse(text)
        opcodes.check(self._text)
        self._programs: dict = {}

    def launch(self, entry, grid, block, arguments, memory, shared=0) -> None:
        """Run an entry to its end. Fault: what it did wrong, first.

        grid, block: an integer or a tuple of up to three. arguments: an address as an integer, a
        NumPy scalar, an array of one structure. shared: bytes of dynamic shared memory.
        """
        program = self._program(entry)
        grid, block = _three(grid), _three(block)
        if math.prod(block) > program.most_threads:
            msg = f"{entry}: {math.prod(block)} threads a block; at most {program.most_threads}"
            raise ValueError(msg)
        symbols = self._symbols(program, memory)
        places = self._places(program, shared)
        launch = Launch(
            program, grid, block, _packed(program, arguments), memory, symbols, places
        )  # fmt: skip
        blocks = grid[0] * grid[1] * grid[2]
        together = min(RESIDENT // launch.threads, RESIDENT_BYTES // max(1, launch.shared_size))
        together = max(1, together)
        try:
            with np.errstate(all="ignore"):
                for first in range(0, blocks, together):
                    launch.begin(first, min(together, blocks - first))
                    Schedule(launch).run()
        finally:
            if launch.address_of_parameters is not None:
                memory.free(launch.address_of_parameters)

    def _program(self, entry):
        program = self._programs.get(entry)
        if program is None:
            function = self._text.functions.get(entry)
            if function is None or not function.is_entry:
                msg = f"no entry {entry}; there are {sorted(self._text.functions)}"
                raise KeyError(msg)
            flat = flatten(self._text, function)
            program = self._programs[entry] = translate.translate(flat, self._text.variables)
        return program

    def _symbols(self, program, memory):
        """Return the addresses of variables in global memory, which begin as the text says."""
        known = memory.symbols.setdefault(self, {})
        for name in program.symbols:
            variable = self._text.variables.get(name)
            if name not in known and variable is not None and variable.space != "shared":
                known[name] = memory.allocate(variable.size, max(variable.align, 16))
                content = variable.content.ljust(variable.size, b"\0")
                view = memory.view(known[name], variable.size)
                view[...] = np.frombuffer(content, np.uint8)
        return known

    def _places(self, program, dynamic):
        """Return where variables of shared and local memory lie, and how much there is of each."""
        places: dict = {}
        sizes = {"shared": 0, "local": 0}
        last = []
        variables = {**program.variables}
        for name in program.symbols:
            variable = self._text.variables.get(name)
            if variable is not None and variable.space == "shared":
                variables[name] = variable
        for name, variable in variables.items():
            if variable.space not in sizes:
                continue
            if variable.space == "shared" and variable.size == 0:
                last.append((name, variable))
                continue
            place = -(-sizes[variable.space] // variable.align) * variable.align
            places[name] = place
            sizes[variable.space] = place + variable.size
        for name, variable in last:
            places[name] = -(-sizes["shared"] // variable.align) * variable.align
        begin = max([sizes["shared"], *(places[name] for name, _ in last)])
        return places, begin + dynamic, sizes["local"]


def _three(size):
    size = tuple(size) if isinstance(size, tuple | list) else (size,)
    return (*map(int, size), 1, 1)[:3]


def _packed(program, arguments):
    """Lay arguments out as the entry's parameters; return the bytes and where each begins."""
    if len(arguments) != len(program.parameters):
        msg = f"{program.name}: {len(arguments)} arguments; need {len(program.parameters)}"
        raise TypeError(msg)
    out, offsets = bytearray(), {}
    for parameter, argument in zip(program.parameters, arguments, strict=True):
        content = (
            int(argument).to_bytes(8, "little") if isinstance(argument, int) else argument.tobytes()
        )
        if len(content) != parameter.size:
            msg = f"{program.name}: {parameter.name} got {len(content)} bytes; "
            msg += f"need {parameter.size}"
            raise TypeError(msg)
        out.extend(bytes(-len(out) % parameter.align))
        offsets[parameter.name] = len(out)
        out += content
    return bytes(out), offsets
