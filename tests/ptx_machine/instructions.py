# SPDX-License-Identifier: Apache-2.0
"""What each instruction becomes in Python."""

from ptx_machine import blocks as control
from ptx_machine import semantics
from ptx_machine.expressions import UNSIGNED, Expressions
from ptx_machine.faults import UnknownInstruction
from ptx_machine.memory import LOCAL, SHARED
from ptx_machine.opcodes import ACCESS, ADDRESS, ATOMIC, FENCE, MOVE, SHUFFLE, VOTE
from ptx_machine.syntax import WIDTHS, Pair, Register, Sink, Symbol, Vector


class Instructions(Expressions):
    """Writes instructions; what the launch has to do is a call of its methods."""

    def __init__(self, flat, symbols) -> None:
        super().__init__(flat, symbols)
        self.granule = {"shared": 16, "global": 16}  # bytes of the narrowest access, of a store
        self.alive: set = set()  # registers that are read after the instruction

    def instruction(self, item) -> None:
        opcode, operands = item.opcode, item.operands
        operation = semantics.find(opcode)
        if operation is not None:
            self.operation(operation, operands)
        elif found := MOVE.fullmatch(opcode):
            self.move(found["type"], *operands)
        elif found := ACCESS.fullmatch(opcode):
            self.load_or_store(found, item)
        elif found := ADDRESS.fullmatch(opcode):
            self.generic_address(found, *operands)
        elif found := ATOMIC.fullmatch(opcode):
            self.atomic(found, item)
        elif found := SHUFFLE.fullmatch(opcode):
            self.shuffle(found, item)
        elif found := VOTE.fullmatch(opcode):
            function = self.constant(semantics.vote(found["mode"]), "f")
            value = f"m.vote(lanes, {function}, {self.use(operands[1], 'pred')})"
            self.define(operands[0], value, "b32" if found["mode"] == "ballot" else "pred")
        elif found := semantics.ldmatrix(opcode):
            self.matrices(found, item)
        elif opcode.startswith("cp.async"):
            self.copy(item)
        elif opcode == "activemask.b32":
            self.define(operands[0], "m.active(lanes)", "b32")
        elif not (FENCE.fullmatch(opcode) or control.WARP_BARRIER.fullmatch(opcode)):
            raise UnknownInstruction(opcode)

    def operation(self, operation, operands) -> None:
        result, *sources = operands
        function = self.constant(operation.function, "f")
        used = zip(sources, operation.operands, strict=True)
        arguments = ", ".join(self.use(x, kind) for x, kind in used)
        if isinstance(result, Pair):
            second = self.constant(operation.complement, "f")
            both = self.temporary()
            self.text.append(f"{both} = {second}({arguments})")
            self.define(result.first, f"{function}({arguments})", "pred")
            self.define(result.second, both, "pred")
        else:
            self.define(result, f"{function}({arguments})", operation.results[0])

    def move(self, kind, result, source) -> None:
        if isinstance(source, Vector):
            width = WIDTHS[kind] // len(source.parts)
            parts = ", ".join(self.use(x, f"b{width}") for x in source.parts)
            self.define(result, f"packed(({parts}), {self.constant(UNSIGNED[WIDTHS[kind]], 'd')})",
                        kind)  # fmt: skip
            self.constants["packed"] = packed
        elif isinstance(result, Vector):
            width = WIDTHS[kind] // len(result.parts)
            value = self.temporary()
            self.text.append(f"{value} = {self.use(source, kind)}")
            dtype = self.constant(UNSIGNED[width], "d")
            for n, part in enumerate(result.parts):
                shift = self.constant(UNSIGNED[WIDTHS[kind]](n * width))
                self.define(part, f"({value} >> {shift}).astype({dtype})", f"b{width}")
        else:
            self.define(result, self.use(source, kind), kind, fresh=False)

    def generic_address(self, found, result, source) -> None:
        width = result.width
        value = self.use(source, f"u{width}")
        window = {"shared": SHARED, "local": LOCAL}.get(found["space"])
        if window is None:
            self.define(result, value, f"u{width}", fresh=False)
        else:
            sign = "-" if found["to"] else "+"
            start = self.constant(UNSIGNED[64](window))
            self.define(result, f"{value} {sign} {start}", f"u{width}")

    def load_or_store(self, found, item) -> None:
        kind, count, space = found["type"], int(found["count"] or 1), found["space"]
        result, place = item.operands if found["name"] == "ld" else item.operands[::-1]
        parts = result.parts if isinstance(result, Vector) else (result,)
        if len(parts) != count:
            raise UnknownInstruction(item.opcode, *parts)
        size = count * WIDTHS[kind] // 8
        element = UNSIGNED[WIDTHS[kind]]
        if space == "param" and isinstance(place.base, Symbol):
            for n, part in enumerate(parts):
                offset = place.offset + n * WIDTHS[kind] // 8
                dtype = self.constant(element, "d")
                self.define(part, f"m.parameter({place.base.name!r}, {offset}, {dtype})", kind)
            return
        space = {"const": "global", "param": "global", None: "generic"}.get(space, space)
        self._narrow(space, size, found["name"] == "st")
        access = self.access(size, element, count, item.line, space)
        address = self.address(place)
        if found["name"] == "ld":
            value = f"m.{space}_space.load(lanes, {address}, {access})"
            if count == 1:
                self.define(parts[0], value, kind)
                return
            values = [self.temporary() for _ in parts]
            self.text.append(f"{', '.join(values)} = {value}")
            for part, value in zip(parts, values, strict=True):
                self.define(part, value, kind)
        else:
            values = ", ".join(self.use(x, kind) for x in parts)
            self.text.append(f"m.{space}_space.store(lanes, {address}, ({values},), {access})")

    def _narrow(self, space, size, writes) -> None:
        """Note how narrow an access is; loads of global memory do not matter."""
        if space in ("shared", "generic"):
            self.granule["shared"] = min(self.granule["shared"], size)
        if space in ("global", "generic") and writes:
            self.granule["global"] = min(self.granule["global"], size)

    def atomic(self, found, item) -> None:
        kind, operands = found["type"], item.operands
        result = operands[0] if found["name"] == "atom" else Sink()
        place, *sources = operands[found["name"] == "atom" :]
        space = {None: "generic"}.get(found["space"], found["space"])
        size = WIDTHS[kind] // 8
        self._narrow(space, size, False)
        access = self.access(size, UNSIGNED[WIDTHS[kind]], 1, item.line, space)
        values = ", ".join(self.use(x, kind) for x in sources)
        wanted = isinstance(result, Register) and result in self.alive
        text = f"m.{space}_space.atomic(lanes, {self.address(place)}, ({values},), {access}, "
        text += f"{found['op']!r}, {kind!r}, {wanted})"
        if wanted:
            self.define(result, text, kind)
        else:
            self.text.append(text)

    def shuffle(self, found, item) -> None:
        result, value, b, c, _ = item.operands
        inside = Sink()
        if isinstance(result, Pair):
            result, inside = result.first, result.second
        wants_inside = isinstance(inside, Register) and inside in self.alive
        both = self.temporary()
        function = self.constant(semantics.shuffle(found["mode"]), "f")
        arguments = ", ".join(self.use(x, "b32") for x in (value, b, c))
        self.text.append(f"{both} = m.shuffle(lanes, {function}, {arguments}, {self.line(item)})")
        self.define(result, f"{both}[0]", "b32")
        if wants_inside:
            self.define(inside, f"{both}[1]()", "pred")

    def matrices(self, found, item) -> None:
        result, place = item.operands
        self._narrow("shared", 16, False)
        access = self.access(16, None, 1, item.line, "shared")
        function = self.constant(found.function, "f")
        parts = [self.temporary() for _ in result.parts]
        self.text.append(
            f"{', '.join(parts)}, = m.matrices(lanes, {self.address(place)}, {found.count}, "
            f"{function}, {access})"
        )
        for part, value in zip(result.parts, parts, strict=True):
            self.define(part, value, "b32")

    def products(self, items) -> None:
        """Multiply matrices, several at once: all lie along one axis."""
        function = self.constant(semantics.mma(items[0].opcode).function, "f")
        operands = []
        for place in (1, 2, 3):
            rows = zip(*(_parts(x.operands[place]) for x in items), strict=True)
            row = ", ".join(f"({''.join(self.use(x, 'b32') + ', ' for x in one)})" for one in rows)
            operands.append(f"({row},)")
        results = [[self.temporary() for _ in items] for _ in _parts(items[0].operands[0])]
        names = ", ".join(f"({', '.join(row)},)" for row in results)
        self.text.append(f"{names}, = m.products(lanes, {function}, {', '.join(operands)})")
        for n, item in enumerate(items):
            for part, row in zip(_parts(item.operands[0]), results, strict=True):
                self.define(part, row[n], "b32")

    def copy(self, item) -> None:
        opcode, operands = item.opcode, item.operands
        if opcode == "cp.async.commit_group":
            self.text.append("m.copies.commit(lanes)")
        elif opcode == "cp.async.wait_group":
            self.text.append(f"m.copies.wait(lanes, {operands[0].bits})")
        elif opcode == "cp.async.wait_all":
            self.text.append("m.copies.wait_all(lanes)")
        else:
            size = operands[2].bits
            self._narrow("shared", size, True)
            access = self.access(size, None, 1, item.line, "shared")
            count = self.use(operands[3], "u32") if len(operands) > 3 else "None"
            target, source = self.address(operands[0]), self.address(operands[1])
            self.text.append(f"m.copies.start(lanes, {target}, {source}, {count}, {access})")


def packed(parts, dtype):
    """Join registers to a wider one, low parts first."""
    out = parts[0].astype(dtype)
    width = parts[0].dtype.itemsize * 8
    for n, part in enumerate(parts[1:], 1):
        out = out | part.astype(dtype) << dtype(n * width)
    return out


def _parts(operand):
    return operand.parts if isinstance(operand, Vector) else (operand,)
