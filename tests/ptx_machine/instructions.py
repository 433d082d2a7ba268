# SPDX-License-Identifier: Apache-2.0
"""Which instructions the machine knows, by their full names, and what each becomes in Python."""

import functools
import re
from typing import Any, NamedTuple

from ptx_machine import blocks as control
from ptx_machine import warps
from ptx_machine.expressions import UNSIGNED, Expressions
from ptx_machine.faults import UnknownInstruction
from ptx_machine.memory import LOCAL, SHARED
from ptx_machine.semantics import conversions, floats, integers, predicates
from ptx_machine.semantics.matrix import LDMATRIX, MMA
from ptx_machine.syntax import SINK, WIDTHS, Symbol, Vector

OPERATIONS = (
    integers.OPERATIONS | floats.OPERATIONS | conversions.OPERATIONS | predicates.OPERATIONS
)  # what an instruction computes in a lane
_TYPE = r"(?P<type>pred|[busf](?:8|16|32|64))"
_SPACE = r"(?:\.(?P<space>global|shared|local|const|param))?"
_ORDER = r"(?:\.(?:volatile|weak|relaxed|acquire|release|acq_rel)(?:\.(?:cta|gpu|sys))?)?"
_SPACES = {"global": "device", "const": "device", "param": "device",
           "shared": "shared", "local": "local", None: "generic"}  # fmt: skip


class Access(NamedTuple):
    """An instruction that touches memory."""

    size: int  # bytes, of all elements together
    element: Any  # dtype
    count: int
    line: Any


class Instructions(Expressions):
    """Writes instructions; what cannot be said in a line is a call of `warps` or of the launch."""

    def __init__(self) -> None:
        super().__init__()
        self.constants["warps"] = warps
        self.granule = {"shared": 16, "device": 16}  # bytes of the narrowest access, of a store
        self.alive: set = set()  # registers that are read after the instruction

    def instruction(self, item) -> None:
        found, write = find(item.opcode)
        write(self, found, item)

    # ------------------------------------------------------------------------ in every lane

    def operation(self, opcode, item) -> None:
        operation = OPERATIONS[opcode]
        result, *sources = item.operands
        used = zip(sources, operation.operands, strict=True)
        arguments = ", ".join(self.use(x, kind) for x, kind in used)
        self.define(result, f"{self.constant(operation.function)}({arguments})", operation.result)

    def comparison(self, opcode, item) -> None:
        """Write setp, p|q = a < b, c: the comparison and its opposite, each joined with c."""
        operation = OPERATIONS[opcode]
        result, a, b, *third = item.operands
        a, b = (self.use(x, kind) for x, kind in zip((a, b), operation.operands, strict=True))
        truth = self.temporary(f"{self.constant(operation.function)}({a}, {b})")
        other = ""
        if third:
            sign = {"and": "&", "or": "|", "xor": "^"}[opcode.split(".")[2]]
            other = f" {sign} {self.temporary(self.use(third[0], 'pred'))}"
        for part, value in zip(_parts(result), (truth, f"~{truth}"), strict=False):
            self.define(part, value + other, "pred")

    def move(self, found, item) -> None:
        kind, (result, source) = found["type"], item.operands
        width = WIDTHS[kind]
        if isinstance(source, Vector):
            part = width // len(source.parts)
            parts = [self.cast(self.use(x, f"b{part}"), UNSIGNED[width]) for x in source.parts]
            parts = [f"{x} << {n * part}" for n, x in enumerate(parts)]
            self.define(result, " | ".join(parts), kind)
        elif isinstance(result, Vector):
            part = width // len(result.parts)
            value = self.temporary(self.use(source, kind))
            for n, x in enumerate(result.parts):
                self.define(x, self.cast(f"({value} >> {n * part})", UNSIGNED[part]), f"b{part}")
        else:
            self.define(result, self.use(source, kind), kind, fresh=False)

    def generic_address(self, found, item) -> None:
        result, source = item.operands
        value = self.use(source, "u64")
        window = {"shared": SHARED, "local": LOCAL}.get(found["space"], 0)
        sign = "-" if found["to"] else "+"
        self.define(result, f"{value} {sign} {self.constant(UNSIGNED[64](window))}", "u64")

    def nothing(self, found, item) -> None:
        pass

    # ------------------------------------------------------------------------------- memory

    def access(self, space, size, item, count=1, writes=False) -> str:
        """Describe an access, and note how narrow it is; loads of global memory do not matter."""
        if space in ("shared", "generic"):
            self.granule["shared"] = min(self.granule["shared"], size)
        if space in ("device", "generic") and writes:
            self.granule["device"] = min(self.granule["device"], size)
        return self.constant(Access(size, UNSIGNED.get(8 * size // count), count, item.line))

    def load(self, found, item) -> None:
        kind, (result, place) = found["type"], item.operands
        parts = self._as_many(found, item, result)
        if found["space"] == "param" and isinstance(place.base, Symbol):
            for n, part in enumerate(parts):
                offset = place.offset + n * WIDTHS[kind] // 8
                dtype = self.constant(UNSIGNED[WIDTHS[kind]])
                self.define(part, f"m.parameter({place.base.name!r}, {offset}, {dtype})", kind)
            return
        space = _SPACES[found["space"]]
        access = self.access(space, len(parts) * WIDTHS[kind] // 8, item, len(parts))
        values = self.temporary(f"m.{space}.load(lanes, {self.address(place)}, {access})")
        for n, part in enumerate(parts):
            self.define(part, f"{values}[{n}]", kind)

    def store(self, found, item) -> None:
        kind, (place, source) = found["type"], item.operands
        parts = self._as_many(found, item, source)
        space = _SPACES[found["space"]]
        access = self.access(space, len(parts) * WIDTHS[kind] // 8, item, len(parts), writes=True)
        values = "".join(f"{self.use(x, kind)}, " for x in parts)
        self.text.append(f"m.{space}.store(lanes, {self.address(place)}, ({values}), {access})")

    @staticmethod
    def _as_many(found, item, operand):
        parts = _parts(operand)
        if len(parts) != int(found["count"] or 1):
            raise UnknownInstruction(item.opcode, *parts)
        return parts

    def atomic(self, found, item) -> None:
        kind, space = found["type"], _SPACES[found["space"]]
        returns = found["name"] == "atom"
        place, *sources = item.operands[returns:]
        result = item.operands[0] if returns else SINK
        access = self.access(space, WIDTHS[kind] // 8, item)
        values = "".join(f"{self.use(x, kind)}, " for x in sources)
        wanted = result in self.alive
        value = f"m.{space}.atomic(lanes, {self.address(place)}, ({values}), {access}, "
        value = self.temporary(f"{value}{found['op']!r}, {kind!r}, {wanted})")
        if wanted:
            self.define(result, value, kind)

    def start_copy(self, found, item) -> None:
        target, source, size, *count = item.operands
        access = self.access("shared", size.bits, item)
        count = self.use(count[0], "u32") if count else self.constant(UNSIGNED[32](size.bits))
        target, source = self.address(target), self.address(source)
        self.text.append(f"m.copies.start(lanes, {target}, {source}, {count}, {access})")

    def commit_copies(self, found, item) -> None:
        self.text.append("m.copies.commit(lanes)")

    def wait_for_copies(self, found, item) -> None:
        if not item.operands:  # cp.async.wait_all
            self.commit_copies(found, item)
        newest = item.operands[0].bits if item.operands else 0
        self.text.append(f"m.copies.wait(lanes, {newest})")

    # -------------------------------------------------------------------------- whole warps

    def shuffle(self, found, item) -> None:
        result, value, b, c, _ = item.operands
        result, inside = (*_parts(result), SINK)[:2]
        arguments = ", ".join(self.use(x, "b32") for x in (value, b, c))
        line = self.constant(item.line)
        both = f"warps.shuffle(lanes, {found['mode']!r}, {arguments}, {line})"
        both = self.temporary(both)
        self.define(result, f"{both}[0]", "b32")
        if inside in self.alive:
            self.define(inside, f"warps.spread(lanes, {both}[1])", "pred")

    def vote(self, found, item) -> None:
        result, predicate, _ = item.operands
        value = f"warps.vote(lanes, {found['mode']!r}, {self.use(predicate, 'pred')})"
        self.define(result, value, "b32" if found["mode"] == "ballot" else "pred")

    def active(self, found, item) -> None:
        self.define(item.operands[0], "warps.active(lanes)", "b32")

    def matrices(self, opcode, item) -> None:
        result, place = item.operands
        access = self.access("shared", 16, item)
        count, function = len(result.parts), self.constant(LDMATRIX[opcode])
        value = f"warps.matrices(lanes, {self.address(place)}, {count}, {function}, {access})"
        values = self.temporary(value)
        for n, part in enumerate(result.parts):
            self.define(part, f"{values}[{n}]", "b32")

    def products(self, items) -> None:
        """Multiply matrices, several at once: all lie along one axis."""
        factors = []
        for place in (1, 2, 3):
            rows = zip(*(_parts(x.operands[place]) for x in items), strict=True)
            row = ", ".join(f"({''.join(self.use(x, 'b32') + ', ' for x in one)})" for one in rows)
            factors.append(f"({row},)")
        function = self.constant(MMA[items[0].opcode])
        values = self.temporary(f"warps.products(lanes, {function}, {', '.join(factors)})")
        for n, item in enumerate(items):
            for i, part in enumerate(_parts(item.operands[0])):
                self.define(part, f"{values}[{i}][{n}]", "b32")


def _parts(operand):
    return operand.parts if isinstance(operand, Vector) else (operand,)


# --------------------------------------------------------------------------------- all of them

# Those that do nothing but compute their results.
PURE = (Instructions.operation, Instructions.comparison, Instructions.move,
        Instructions.generic_address)  # fmt: skip
_ATOMICS = (
    r"(add\.([us]32|u64|f32|f64)|(min|max)\.[us](32|64)"
    r"|(and|or|xor|exch|cas)\.b(32|64)|(inc|dec)\.u32)$"
)
_PATTERNS = {
    rf"mov\.{_TYPE}": Instructions.move,
    rf"cvta(?P<to>\.to)?{_SPACE}\.u64": Instructions.generic_address,
    rf"ld{_ORDER}{_SPACE}(\.nc)?(\.L[12]::\w+)*(\.v(?P<count>[24]))?\.{_TYPE}": Instructions.load,
    rf"st{_ORDER}{_SPACE}(\.v(?P<count>[24]))?\.{_TYPE}": Instructions.store,
    rf"(?P<name>atom|red){_ORDER}{_SPACE}\.(?={_ATOMICS})(?P<op>\w+)\.{_TYPE}": Instructions.atomic,
    r"shfl\.sync\.(?P<mode>up|down|bfly|idx)\.b32": Instructions.shuffle,
    r"vote\.sync\.(?P<mode>(all|any|uni)(?=\.pred)|ballot(?=\.b32))\.\w+": Instructions.vote,
    r"activemask\.b32": Instructions.active,
    r"cp\.async\.(ca|cg)\.shared\.global(\.L2::\d+B)?": Instructions.start_copy,
    r"cp\.async\.commit_group": Instructions.commit_copies,
    r"cp\.async\.wait_(group|all)": Instructions.wait_for_copies,
    # Those that only have a place in the order of things, or end blocks.
    r"membar\.(cta|gl|sys)|fence\.(acq_rel|sc)\.(cta|gpu|sys)": Instructions.nothing,
    rf"{control.WARP_BARRIER.pattern}|{control.BARRIER.pattern}": Instructions.nothing,
    r"call|call\.uni|" + "|".join((*control.EXITS, *control.BRANCHES)): Instructions.nothing,
}


@functools.cache
def find(opcode):
    """Return what an opcode says, and the method that writes it; None if it is not known."""
    for table, write in (
        (OPERATIONS, Instructions.comparison if opcode[:5] == "setp." else Instructions.operation),
        (LDMATRIX, Instructions.matrices),
        (MMA, Instructions.products),
    ):
        if opcode in table:
            return opcode, write
    for pattern, write in _PATTERNS.items():
        found = re.fullmatch(pattern, opcode)
        if found:
            return found, write
    return None
