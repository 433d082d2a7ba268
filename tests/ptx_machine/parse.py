# SPDX-License-Identifier: Apache-2.0
"""The text of a module: variables and functions, and the statements in them with their scopes.

Names are local to braces: whatever is declared in a scope gets a name of its own, so that what
follows never asks where a name came from.
"""

import math
import re

from ptx_machine.faults import UnknownInstruction
from ptx_machine.syntax import (
    SINK,
    SPECIAL,
    WIDTHS,
    Address,
    Function,
    Immediate,
    Instruction,
    Label,
    Line,
    Negated,
    Register,
    Symbol,
    Variable,
    Vector,
)

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SECTION = re.compile(r"\.section\b[^{]*\{[^}]*\}")
_FUNCTION = re.compile(
    r"(?:\.(?:visible|weak|extern)\s+)*\.(entry|func)\s*(?:\(([^)]*)\)\s*)?([\w$]+)\s*"
    r"(?:\(([^)]*)\))?\s*([^{;]*)([{;])"
)
_LINE = re.compile(
    r"\.loc\s+(\d+\s+(\d+)\s+\d+)(?:,\s*function_name[^\n]*inlined_at\s+(\d+\s+\d+\s+\d+))?[^\n]*"
)
_FILE = re.compile(r"\.file\s+(\d+)\s+\"(?:[^\"\n]*/)?([^\"\n]*)\"")
_MOST_THREADS = re.compile(r"\.(?:maxntid|reqntid)\s+([\d,\s]+)")
_LABEL = re.compile(r"([\w$]+)\s*:(?!:)")
_STATEMENT = re.compile(r"([^;]*);")
_SPACE = re.compile(r"\s+")
_ATOM = re.compile(r"""
    (?P<register>%?[A-Za-z_$][\w$.]*) | 0[fF](?P<single>[0-9a-fA-F]{8})(?![0-9a-fA-F])
    | 0[dD](?P<double>[0-9a-fA-F]{16}) | (?P<number>-?(?:0[xX][0-9a-fA-F]+|\d+))U?
    """, re.VERBOSE)  # fmt: skip
_VARIABLE = re.compile(r"""
    \.(?P<space>\w+)\s+ (?P<ptr>\.ptr\s+)? (?:\.align\s+(?P<align>\d+)\s+)? \.(?P<type>\w+)\s+
    (?:\.ptr\s+)?(?:\.(?:global|shared|const|local)\s+)? (?:\.align\s+\d+\s+)?
    (?P<name>[\w$%]+) \s* (?P<array>(?:\[\s*\d*\s*\])*) \s* (?:=\s*(?P<value>.*))?$
    """, re.VERBOSE | re.DOTALL)  # fmt: skip
_LINKAGE = re.compile(r"^(?:\.(?:visible|extern|weak|common)\s+)+")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)$", re.DOTALL)


class Scope:
    """The names of a pair of braces."""

    count = 0

    def __init__(self, parent) -> None:
        self.parent = parent
        self.names: dict = {}
        self.ranges: dict = {}  # prefix of numbered registers -> width
        Scope.count += 1
        self.suffix = "" if parent is None else f"~{Scope.count}"

    def find(self, name):
        found = self.names.get(name)
        if found is None and name[-1].isdigit():
            width = self.ranges.get(name.rstrip("0123456789"))
            if width is not None:
                found = self.names[name] = Register(name + self.suffix, width)
        if found is None and self.parent is not None:
            return self.parent.find(name)
        return found

    def declare_registers(self, text) -> None:
        kind, names = _REGISTERS.match(text).groups()
        if kind not in WIDTHS:
            raise UnknownInstruction(text)
        for name in names.split(","):
            base, numbered, _ = name.strip().partition("<")
            if numbered:
                self.ranges[base] = WIDTHS[kind]
            else:
                self.names[base] = Register(base + self.suffix, WIDTHS[kind])


def parse(text):
    """Return the functions and the variables of a module, by name."""
    files = dict(_FILE.findall(text))
    text = _SECTION.sub("", _COMMENT.sub("", text))
    functions, variables = {}, {}
    place = 0
    for found in _FUNCTION.finditer(text):
        if found.start() < place:
            continue
        _read_variables(text[place : found.start()], variables)
        place = found.end()
        if found[6] == "{":
            function, place = _read_function(text, found, variables, files)
            functions[function.name] = function
    _read_variables(text[place:], variables)
    return functions, variables


def _read_variables(text, variables) -> None:
    """Read the variables between functions; the other directives there say nothing to us."""
    text = re.sub(r"^\s*\.(version|target|address_size|file)\b[^\n]*$", "", text, flags=re.M)
    for statement in text.split(";"):
        if re.search(r"\.(global|const|shared)\b", statement):
            variable = _variable(_LINKAGE.sub("", statement.strip()))
            variables[variable.name] = variable


def _variable(text, suffix="") -> Variable:
    found = _VARIABLE.match(text)
    if found is None or found["type"] not in WIDTHS:
        raise UnknownInstruction(text)
    item = WIDTHS[found["type"]] // 8
    size = item
    for dimension in re.findall(r"\[\s*(\d*)\s*\]", found["array"]):
        size *= int(dimension or 0)
    content = b""
    if found["value"] is not None:
        values = re.findall(r"[\w$.+-]+", found["value"])
        for value in values:
            operand = _immediate(value)
            if operand is None:
                raise UnknownInstruction(text)
            content += (operand.bits & (1 << 8 * item) - 1).to_bytes(item, "little")
    return Variable(found["name"] + suffix, found["space"], int(found["align"] or item), size,
                    content)  # fmt: skip


def _read_function(text, found, variables, files):
    """Read a function's braces; return it and where they end."""
    kind, results, name, parameters, limits, _ = found.groups()
    outer = Scope(None)
    declared = []
    for list_of_names in (parameters, results):
        these = [_variable(x.strip()) for x in (list_of_names or "").split(",") if x.strip()]
        declared.append(tuple(these))
        for variable in these:
            outer.names[variable.name] = Symbol(variable.name)
    for variable in variables:
        outer.names[variable] = Symbol(variable)
    statements, own, end = _scan(text, found.end(), outer, files)
    body = []
    for scope, statement, line in statements:
        if isinstance(statement, Label):
            body.append(statement)
        else:
            body.append(_instruction(scope, statement, line))
    limit = _MOST_THREADS.search(limits)
    most = math.prod(int(x) for x in limit[1].split(",")) if limit else 1024
    return Function(name, kind == "entry", declared[0], declared[1], body, own, most), end


def _scan(text, place, scope, files):
    """Cut a body into statements, each with its scope and source line."""
    statements, variables, line = [], {}, Line(0, "")
    lines: dict[str, Line] = {}
    outermost = scope
    while True:
        skipped = _SPACE.match(text, place)
        if skipped:
            place = skipped.end()
        first = text[place]
        if first == "{":
            scope, place = Scope(scope), place + 1
            continue
        if first == "}":
            place += 1
            if scope is outermost:
                return statements, variables, place
            scope = scope.parent
            continue
        if first == ".":
            found = _LINE.match(text, place)
            if found:
                if found[2] != "0":
                    file = files.get(found[1].split()[0], "")
                    line = lines[found[1]] = Line(int(found[2]), file, lines.get(found[3]))
                place = found.end()
                continue
        else:
            found = _LABEL.match(text, place)
            if found:
                label = Label(found[1] + scope.suffix)
                scope.names[found[1]] = label
                statements.append((scope, label, line))
                place = found.end()
                continue
        found = _STATEMENT.match(text, place)
        place, statement = found.end(), found[1].strip()
        if statement.startswith(".reg"):
            scope.declare_registers(statement)
        elif statement.startswith((".shared", ".local", ".param", ".extern")):
            variable = _variable(_LINKAGE.sub("", statement), scope.suffix)
            scope.names[variable.name.partition("~")[0]] = Symbol(variable.name)
            variables[variable.name] = variable
        elif not statement.startswith(".pragma") and statement:
            statements.append((scope, statement, line))


# ------------------------------------------------------------------------------- instructions

_GUARD = re.compile(r"@(!?)\s*([%\w$]+)\s+")
_OPCODE = re.compile(r"([a-z][\w.:]*)\s*")
_CALL = re.compile(r"(?:\(([^)]*)\)\s*,\s*)?([\w$]+)\s*(?:,\s*\(([^)]*)\))?\s*$", re.DOTALL)
_OPERANDS = re.compile(r"\s*(\{[^}]*\}|\[[^\]]*\]|[^,{\[]+)\s*(?:,|$)")


def _instruction(scope, text, line) -> Instruction:
    guard = None
    found = _GUARD.match(text)
    rest = text
    if found:
        guard = scope.find(found[2])
        if guard is None:
            raise UnknownInstruction(text)
        guard = Negated(guard) if found[1] else guard
        rest = text[found.end() :]
    found = _OPCODE.match(rest)
    if found is None:
        raise UnknownInstruction(text)
    opcode, rest = found[1], rest[found.end() :]
    if opcode.startswith("call"):
        called = _CALL.match(rest)
        if called is None:
            raise UnknownInstruction(text)
        lists = [
            Vector(tuple(scope.find(x.strip()) for x in (names or "").split(",") if x.strip()))
            for names in (called[1], called[3])
        ]
        return Instruction(opcode, (lists[0], Symbol(called[2]), lists[1]), guard, line)
    operands, place = [], 0
    while place < len(rest):
        found = _OPERANDS.match(rest, place)
        if found is None:
            raise UnknownInstruction(text)
        operands.append(_operand(scope, found[1].strip(), text))
        place = found.end()
    return Instruction(opcode, tuple(operands), guard, line)


def _operand(scope, text, whole):
    first = text[0]
    if first == "%" and "|" not in text:
        found = scope.find(text)
        if found is not None:
            return found
        if SPECIAL.fullmatch(text):
            return Symbol(text)
        raise UnknownInstruction(whole)
    if first == "[":
        base, plus, offset = text[1:-1].partition("+")
        return Address(_operand(scope, base.strip(), whole), int(offset, 0) if plus else 0)
    if first == "{":
        return Vector(tuple(_operand(scope, x.strip(), whole) for x in text[1:-1].split(",")))
    if first == "!":
        return Negated(_operand(scope, text[1:].strip(), whole))
    if "|" in text:
        return Vector(tuple(_operand(scope, x.strip(), whole) for x in text.split("|")))
    if text == "_":
        return SINK
    immediate = _immediate(text)
    found = immediate or scope.find(text)
    if found is None:
        raise UnknownInstruction(whole)
    return found


def _immediate(text):
    found = _ATOM.fullmatch(text)
    if found is None:
        return None
    if found["number"]:
        number = found["number"]
        octal = re.fullmatch(r"-?0\d+", number)
        return Immediate(int(number, 8 if octal else 0))
    digits = found["single"] or found["double"]
    return Immediate(int(digits, 16)) if digits else None
