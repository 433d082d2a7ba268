# SPDX-License-Identifier: Apache-2.0
"""Which instructions the machine knows, by their full names: tables and patterns."""

import re
from typing import Any, NamedTuple

from ptx_machine import blocks, semantics
from ptx_machine.faults import UnknownInstruction
from ptx_machine.syntax import WIDTHS

_TYPE = r"(?P<type>pred|f16x2|[busf]\d+)"
_SPACE = r"(?:\.(?P<space>global|shared|local|const|param))?"
_ORDER = r"(?:\.(?:volatile|weak|relaxed|acquire|release|acq_rel)(?:\.(?:cta|gpu|sys))?)?"
MOVE = re.compile(rf"mov\.{_TYPE}")
ADDRESS = re.compile(rf"cvta(?P<to>\.to)?{_SPACE}\.u(?:32|64)")
ACCESS = re.compile(
    rf"(?P<name>ld|st){_ORDER}{_SPACE}(?:\.nc)?(?:\.L[12]::\w+)*(?:\.v(?P<count>[24]))?\.{_TYPE}"
)
ATOMIC = re.compile(
    rf"(?P<name>atom|red){_ORDER}{_SPACE}\.(?P<op>add|min|max|and|or|xor|exch|cas|inc|dec)\.{_TYPE}"
)
COPY = re.compile(r"cp\.async\.(?:ca|cg)\.shared\.global(?:\.L2::\d+B)?")
SHUFFLE = re.compile(r"shfl\.sync\.(?P<mode>\w+)\.b32")
VOTE = re.compile(r"vote\.sync\.(?P<mode>\w+)\.(?:pred|b32)")
FENCE = re.compile(r"membar\.(?:cta|gl|sys)|fence\.(?:acq_rel|sc)\.(?:cta|gpu|sys)")
_ATOMIC_TYPES = {
    **dict.fromkeys(("add",), ("u32", "s32", "u64", "f32", "f64")),
    **dict.fromkeys(("min", "max"), ("u32", "s32", "u64", "s64")),
    **dict.fromkeys(("and", "or", "xor", "exch", "cas"), ("b32", "b64")),
    **dict.fromkeys(("inc", "dec"), ("u32",)),
}


class Access(NamedTuple):
    """An instruction that touches memory."""

    size: int  # bytes, of all elements together
    element: Any  # dtype
    count: int
    line: int
    space: str | None = None


def check(text) -> None:
    """Refuse a text with an opcode that is not known."""
    known = set()
    for function in text.functions.values():
        for item in function.body:
            opcode = getattr(item, "opcode", None)
            if opcode and opcode not in known:
                if not _is_known(opcode):
                    raise UnknownInstruction(opcode, function.name, item.line)
                known.add(opcode)


def _is_known(opcode) -> bool:
    found = ATOMIC.fullmatch(opcode)
    if found:
        return found["type"] in _ATOMIC_TYPES[found["op"]]
    found = ACCESS.fullmatch(opcode)
    if found:
        return found["type"] in WIDTHS and found["type"] not in ("pred", "f16x2")
    found = SHUFFLE.fullmatch(opcode)
    if found:
        return semantics.shuffle(found["mode"]) is not None
    found = VOTE.fullmatch(opcode)
    if found:
        return semantics.vote(found["mode"]) is not None
    others = (MOVE, ADDRESS, COPY, FENCE, blocks.BARRIER, blocks.WARP_BARRIER)
    return (
        opcode in _NAMED
        or any(x.fullmatch(opcode) for x in others)
        or any(x(opcode) for x in (semantics.find, semantics.mma, semantics.ldmatrix))
    )


_NAMED = {
    *blocks.EXITS, *blocks.BRANCHES, "call", "call.uni", "activemask.b32",
    "cp.async.commit_group", "cp.async.wait_group", "cp.async.wait_all",
}  # fmt: skip


def is_pure(opcode) -> bool:
    """Return whether an instruction does nothing but compute its result."""
    return bool(semantics.find(opcode) or MOVE.fullmatch(opcode) or ADDRESS.fullmatch(opcode))
