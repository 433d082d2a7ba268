# SPDX-License-Identifier: Apache-2.0
"""Every instruction in halfbyte's kernels is one that these tests compare with scalar Python."""

import importlib
import re

import pytest

import test_ptx_machine_conversions as conversions
import test_ptx_machine_floats as floats
import test_ptx_machine_integers as integers
import test_ptx_machine_predicates as predicates
from halfbyte.cuda import compile as compiler

pytestmark = pytest.mark.usefixtures("nvrtc")

# Instructions that are tested by themselves.
NAMED = {
    instruction.name
    for tests in (conversions, floats, integers, predicates)
    for family in tests.FAMILIES.values()
    for instruction in family.instructions
} | set(floats.APPROXIMATIONS)

TYPE = r"(b|u|s|f)(8|16|32|64)"
WHERE = r"(global|shared|local|const|param)"
# Those that are tested in families of other kinds, and where.
PATTERNS = {
    "memory": rf"(ld|st)(\.volatile)?(\.{WHERE})?(\.nc)?(\.v[24])?\.{TYPE}",
    "atomics": rf"(atom|red)(\.relaxed\.(gpu|cta))?(\.{WHERE})?"
    rf"\.(add|min|max|and|or|xor|exch|cas|inc|dec)\.{TYPE}",
    "warps": r"shfl\.sync\.\w+\.b32|vote\.sync\.\w+\.(pred|b32)|activemask\.b32|"
    r"(bar|barrier)(\.cta)?(\.warp)?(\.(sync|red))(\.aligned)?(\.(popc|and|or)\.(u32|pred))?",
    "matrices": r"ldmatrix\.sync\.aligned\.m8n8\.x[124](\.trans)?\.shared\.b16|"
    r"mma\.sync\.aligned\.m\d+n8k\d+\.row\.col\.(f32|s32)\.\w+\.\w+\.(f32|s32)",
    "copies": r"cp\.async\.(c[ag]\.shared\.global(\.L2::128B)?|commit_group|wait_group|wait_all)",
    "control": r"bra(\.uni)?|ret|call(\.uni)?|membar\.gl|fence\.acq_rel\.gpu",
    "launches": rf"mov\.{TYPE}|cvta(\.to)?(\.{WHERE})?\.u64",
    "predicates": rf"setp\.\w+\.{TYPE}|setp\.\w+\.(and|or|xor)\.{TYPE}|selp\.{TYPE}|\w+\.pred",
    "integers": r"lop3\.b32",
}


def opcodes(ptx):
    """Return the opcodes in a text of PTX."""
    text = re.sub(r"//[^\n]*|\([^)]*\)", "", ptx)  # without the arguments of calls
    body = re.sub(r"\.section\b[^{]*\{[^}]*\}", "", text)
    guard, opcode = r"(?:@!?%?\w+\s+)?", r"([a-z]\w*(?:\.[\w:]+)*)"
    return set(re.findall(rf"(?:^|[;{{}}:\n])\s*{guard}{opcode}(?=[\s;])", body))


def is_tested(opcode):
    return opcode in NAMED or any(re.fullmatch(text, opcode) for text in PATTERNS.values())


def kernels():
    """Return (file, defines) of a few variants of every kernel, by what its plan chooses."""
    names = sorted(path.stem for path in compiler.SOURCES.glob("*.py"))
    plans = [importlib.import_module(f"halfbyte.cuda.{name}") for name in names]
    found = {}
    for plan in plans:
        for stem, defines in getattr(plan, "variants", list)():
            found.setdefault(stem, []).append(defines)
    return [
        (stem, defines)
        for stem, variants in sorted(found.items())
        for defines in variants[:: max(1, len(variants) // 4)]
    ]


# The oldest and the newest: those between have no instructions of their own.
@pytest.mark.parametrize("architecture", [75, 120])
@pytest.mark.parametrize("stem", sorted({stem for stem, _ in kernels()}))
def test_instructions_of_the_kernels_are_is_tested(stem, architecture):
    found = set()
    for name, defines in kernels():
        if name == stem:
            found |= opcodes(compiler.build(stem, defines, f"compute_{architecture}").decode())
    assert found
    assert sorted(opcode for opcode in found if not is_tested(opcode)) == []


@pytest.mark.parametrize("opcode", ["frobnicate.u32", "add.sideways.u32", "sin.approx.f32"])
def test_untested_instruction_is_seen(opcode):
    assert opcodes(f"{{\n @%p1 {opcode} %r1, %r2;\n}}") == {opcode}
    assert not is_tested(opcode)
