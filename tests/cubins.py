# SPDX-License-Identifier: Apache-2.0
"""What a kernel takes of a multiprocessor, read from its machine code.

A cubin is an ELF file. Its section `.nv.info` is a list of records (format, attribute, size or
value); those of format 4 have `size` bytes more, here the number of a symbol and a value:

    0x2f EIATTR_REGCOUNT      registers a thread
    0x11 EIATTR_FRAME_SIZE    bytes of stack a thread: spilled registers, indexed local arrays
    0x12 EIATTR_MIN_STACK_SIZE    the same, with those of the functions that are called

and in `.nv.info.<kernel>`

    0x05 EIATTR_MAX_THREADS   what __launch_bounds__ says, three sizes

`.nv.shared.<kernel>` is as long as the kernel's own shared memory, with 1024 bytes that the system
has from sm_90 on.
"""

import math
import struct
from typing import NamedTuple

_SIZED = 4
_REGISTERS, _FRAME, _STACK, _THREADS = 0x2F, 0x11, 0x12, 0x05


class Resources(NamedTuple):
    """Registers and bytes of stack a thread; bytes of shared memory and most threads a block."""

    registers: int
    stack: int
    shared: int
    threads: int


def resources(cubin: bytes, kernel: str) -> Resources:
    """Return what a kernel takes; shared memory that a launch adds is not part of it."""
    sections = _sections(cubin)
    symbols = _symbols(sections)
    found = {}
    for attribute, value in _records(sections[".nv.info"]):
        if attribute in (_REGISTERS, _FRAME, _STACK):
            symbol, amount = struct.unpack("<II", value)
            if symbols[symbol] == kernel:
                found[attribute] = amount
    shared = sections.get(f".nv.shared.{kernel}", (b"", 0))[1]
    bounds = dict(_records(sections[f".nv.info.{kernel}"])).get(_THREADS)
    threads = math.prod(struct.unpack("<III", bounds)) if bounds else 1024
    return Resources(found[_REGISTERS], max(found[_FRAME], found[_STACK]), shared, threads)


def kernels(cubin: bytes) -> list[str]:
    """Return the names of the kernels in a cubin."""
    return [name.removeprefix(".text.") for name in _sections(cubin) if name.startswith(".text.")]


def _sections(cubin):
    """Return the content and the size of each section by its name."""
    assert cubin.startswith(b"\x7fELF\x02\x01"), "no ELF file of 64 bits"
    programs, start = struct.unpack_from("<QQ", cubin, 0x20)
    program_size, program_count, size, count, names = struct.unpack_from("<5H", cubin, 0x36)
    ends = (programs + program_size * program_count, start + size * count)
    assert max(ends) <= len(cubin), "the file is cut short"
    headers = [
        struct.unpack_from("<II16xQQ", cubin, start + size * i) for i in range(count)
    ]  # name, type, offset, size
    _, _, at, length = headers[names]
    texts = cubin[at : at + length]
    return {
        _text(texts, name): (b"" if kind == 8 else cubin[offset : offset + length], length)
        for name, kind, offset, length in headers
    }


def _symbols(sections):
    """Return the names of the symbols, in order."""
    table, texts = sections[".symtab"][0], sections[".strtab"][0]
    return [_text(texts, name) for (name,) in struct.iter_unpack("<I20x", table)]


def _records(section):
    """Yield the attribute and the value of each record that has a size."""
    content, at = section[0], 0
    while at < len(content):
        form, attribute, size = struct.unpack_from("<BBH", content, at)
        at += 4
        if form == _SIZED:
            yield attribute, content[at : at + size]
            at += size


def _text(texts, at):
    return texts[at : texts.index(b"\0", at)].decode()
