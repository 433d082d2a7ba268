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
    r"(?:\.(?:visible|weak|extern)\s+)*\.(?P<kind>entry|func)\s*(?:\((?P<results>[^)]*)\)\s*)?"
    r"(?P<name>[\w$]+)\s*(?:\((?P<parameters>[^)]*)\))?\s*(?P<limits>[^{;]*)(?P<end>[{;])"
)
_LINE = re.compile(
    r"\.loc\s+(\d+\s+(\d+)\s+\d+)(?:,\s*function_name[^\n]*inlined_at\s+(\d+\s+\d+\s+\d+))?[^\n]*"
)
_FILE = re.compile(r"\.file\s+(\d+)\s+\"(?:[^\"\n]*/)?([^\"\n]*)\"")
_MOST_THREADS = re.compile(r"\.(?:maxntid|reqntid)\s+([\d,\s]+)")
_LABEL = re.compile(r"([\w$]+)\s*:(?!:)")
_STATEMENT = re.compile(r"([^;]*);")
_SPACE = re.compile(r"\s*")
_VARIABLE = re.compile(r"""
    (?:\.(?:visible|extern|weak|common)\s+)* \.(?P<space>\w+)\s+ (?:\.ptr\s+)?
    (?:\.align\s+(?P<align>\d+)\s+)? \.(?P<type>\w+)\s+ (?:\.ptr\s+)?
    (?:\.(?:global|shared|const|local)\s+)? (?:\.align\s+\d+\s+)?
    (?P<name>[\w$%]+) \s* (?P<array>(?:\[\s*\d*\s*\])*) \s* (?:=\s*(?P<value>.*))?$
    """, re.VERBOSE | re.DOTALL)  # fmt: skip
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)$", re.DOTALL)
_NUMBER = re.compile(
    r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})|(-?(?:0[xX][0-9a-fA-F]+|\d+))U?"
)
_INSTRUCTION = re.compile(r"(?:@(!?)\s*([%\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)$", re.DOTALL)
_OPERANDS = re.compile(r"\s*(\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,{\[(]+)\s*(?:,|$)")


def _match(pattern, text, place=0):
    found = pattern.match(text, place)
    if found is None:
        raise UnknownInstruction(text[place:])
    return found


class Scope:
    """The names of a pair of braces."""

    count = 0

    def __init__(self, parent) -> None:
        self.parent = parent
        self.names: dict = {}
        Scope.count += 1
        self.suffix = "" if parent is None else f"~{Scope.count}"

    def find(self, name):
        """Return what a name means here."""
        if name in self.names:
            return self.names[name]
        if self.parent is not None:
            return self.parent.find(name)
        if SPECIAL.fullmatch(name):
            return Symbol(name)
        raise UnknownInstruction(name)

    def declare_registers(self, text) -> None:
        kind, names = _match(_REGISTERS, text).groups()
        if kind not in WIDTHS:
            raise UnknownInstruction(text)
        for name in names.split(","):
            base, _, count = name.strip().rstrip(">").partition("<")
            for one in [f"{base}{n}" for n in range(int(count))] if count else [base]:
                self.names[one] = Register(one + self.suffix, WIDTHS[kind])


def parse(text):
    """Return the functions and the variables of a module, by name."""
    files = dict(_FILE.findall(text))
    text = _SECTION.sub("", _COMMENT.sub("", text))
    functions, variables = {}, {}
    outer = Scope(None)
    place = 0
    for found in _FUNCTION.finditer(text):
        if found.start() < place:
            continue
        _read_variables(text[place : found.start()], variables, outer)
        outer.names[found["name"]] = Symbol(found["name"])
        place = found.end()
        if found["end"] == "{":
            functions[found["name"]], place = _read_function(text, found, outer, files)
    _read_variables(text[place:], variables, outer)
    return functions, variables


def _read_variables(text, variables, scope) -> None:
    """Read the variables between functions; the other directives there say nothing to us."""
    text = re.sub(r"^\s*\.(version|target|address_size|file)\b[^\n]*$", "", text, flags=re.M)
    for statement in text.split(";"):
        if re.search(r"\.(global|const|shared)\b", statement):
            variable = _variable(statement.strip(), scope)
            variables[variable.name] = variable


def _variable(text, scope) -> Variable:
    """Read a variable and declare its name."""
    found = _match(_VARIABLE, text)
    if found["type"] not in WIDTHS:
        raise UnknownInstruction(text)
    item = WIDTHS[found["type"]] // 8
    dimensions = re.findall(r"\[\s*(\d*)\s*\]", found["array"])
    values = [_immediate(x).bits for x in re.findall(r"[\w$.+-]+", found["value"] or "")]
    content = b"".join((x & (1 << 8 * item) - 1).to_bytes(item, "little") for x in values)
    name = found["name"] + scope.suffix
    scope.names[found["name"]] = Symbol(name)
    size = item * math.prod(int(x or 0) for x in dimensions)
    return Variable(name, found["space"], int(found["align"] or item), size, content)


def _read_function(text, found, outer, files):
    """Read a function's braces; return it and where they end."""
    scope = Scope(None)
    scope.names.update(outer.names)
    parameters, results = (
        tuple(_variable(x.strip(), scope) for x in (found[list_] or "").split(",") if x.strip())
        for list_ in ("parameters", "results")
    )
    statements, own, end = _scan(text, found.end(), scope, files)
    body = []
    for inner, statement, line in statements:
        try:
            body.append(_instruction(inner, statement, line) if line else statement)
        except UnknownInstruction as error:
            raise UnknownInstruction(statement, *error.args, line) from error
    limit = _MOST_THREADS.search(found["limits"])
    most = math.prod(int(x) for x in limit[1].split(",")) if limit else 1024
    is_entry = found["kind"] == "entry"
    return Function(found["name"], is_entry, parameters, results, body, own, most), end


def _scan(text, place, scope, files):
    """Cut a body into statements, each with its scope and source line; labels have no line."""
    statements, variables, line = [], {}, Line(0, "")
    lines: dict[str, Line] = {}
    outermost = scope
    while True:
        place = _SPACE.match(text, place).end()
        first = text[place]
        if first == "{":
            scope, place = Scope(scope), place + 1
        elif first == "}":
            place += 1
            if scope is outermost:
                return statements, variables, place
            scope = scope.parent
        elif found := _LINE.match(text, place):
            place = found.end()
            if found[2] != "0":
                file = files.get(found[1].split()[0], "")
                line = lines[found[1]] = Line(int(found[2]), file, lines.get(found[3]))
        elif found := _LABEL.match(text, place):
            place = found.end()
            scope.names[found[1]] = Label(found[1] + scope.suffix)
            statements.append((scope, scope.names[found[1]], None))
        else:
            found = _match(_STATEMENT, text, place)
            place, statement = found.end(), found[1].strip()
            if statement.startswith(".reg"):
                scope.declare_registers(statement)
            elif statement.startswith((".shared", ".local", ".param", ".extern")):
                variable = _variable(statement, scope)
                variables[variable.name] = variable
            elif statement and not statement.startswith(".pragma"):
                statements.append((scope, statement, line))


# ------------------------------------------------------------------------------- instructions


def _instruction(scope, text, line) -> Instruction:
    negated, guard, opcode, rest = _match(_INSTRUCTION, text).groups()
    guard = guard and scope.find(guard)
    operands, place = [], 0
    while place < len(rest):
        found = _match(_OPERANDS, rest, place)
        operands.append(_operand(scope, found[1].strip()))
        place = found.end()
    return Instruction(opcode, tuple(operands), Negated(guard) if negated else guard, line)


def _operand(scope, text):
    if text[0] == "[":
        base, _, offset = text[1:-1].partition("+")
        return Address(_operand(scope, base.strip()), int(offset or "0", 0))
    if text[0] in "{(":
        parts = [x.strip() for x in text[1:-1].split(",")]
        return Vector(tuple(_operand(scope, x) for x in parts if x))
    if "|" in text:
        return Vector(tuple(_operand(scope, x.strip()) for x in text.split("|")))
    if text[0] == "!":
        return Negated(_operand(scope, text[1:].strip()))
    if text == "_":
        return SINK
    return _immediate(text) if text[0] in "-0123456789" else scope.find(text)


def _immediate(text) -> Immediate:
    single, double, number = _match(_NUMBER, text).groups()
    if number:
        return Immediate(int(number, 8 if re.fullmatch(r"-?0\d+", number) else 0))
    return Immediate(int(single or double, 16))
