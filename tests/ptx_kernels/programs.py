# SPDX-License-Identifier: Apache-2.0
"""Random programs with control flow: as CUDA C, and as Python interprets them thread by thread.

A program works on four variables that differ from thread to thread, so threads part at every
branch. Each statement also mixes its number into a trace: two ways through a program differ.
"""

import contextlib
import random

VARIABLES = 4
WORD = 2**32 - 1

# A node of an expression is a constant, ("v", index) or (operator, left, right).
OPERATORS = {
    "+": lambda a, b: a + b & WORD,
    "-": lambda a, b: a - b & WORD,
    "*": lambda a, b: a * b & WORD,
    "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "<": lambda a, b: int(a < b),
    ">=": lambda a, b: int(a >= b),
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
}


class Break(Exception):
    pass


class Continue(Exception):
    pass


class Return(Exception):
    pass


class Program:
    """Functions and a body, drawn from a seed."""

    def __init__(self, seed: int, name: str) -> None:
        self.draw = random.Random(seed)
        self.name = name
        self.statements = 0
        self.functions = []
        # A function may call those before it.
        for _ in range(2):
            self.functions.append(self.block(2, loop=False))
        self.body = self.block(4, loop=False) + self.block(4, loop=False)

    # ------------------------------------------------------------------------------ drawing

    def expression(self, depth=2):
        if depth == 0 or self.draw.random() < 0.2:
            constant = self.draw.choice((0, 1, 2, 3, 5, 17, 31, 2**31, WORD))
            return self.draw.choice((constant, *[("v", i) for i in range(VARIABLES)]))
        operator = self.draw.choice(list(OPERATORS))
        return (operator, self.expression(depth - 1), self.expression(depth - 1))

    def condition(self):
        """Return an expression that is as often zero as not."""
        bit = 1 << self.draw.randrange(3)
        return self.draw.choice((("&", self.expression(), bit), ("<", ("v", 0), ("v", 1))))

    def block(self, depth, loop):
        count = self.draw.randint(1, 3)
        return [self.statement(depth, loop) for _ in range(count)]

    def statement(self, depth, loop):
        self.statements += 1
        number = self.statements
        kinds = ["assign", "add", *(["call"] if self.functions else [])]
        if depth > 0:
            kinds += ["if", "if", "else", "for", "do", "switch"]
        kinds += ["break", "continue"] * loop + ["return"] * (number % 7 == 0)
        kind = self.draw.choice(kinds)
        inside = depth - 1
        parts = {
            "assign": lambda: (self.draw.randrange(VARIABLES), self.expression(3)),
            "add": lambda: (self.expression(),),
            "call": lambda: (self.draw.randrange(len(self.functions)),),
            "if": lambda: (self.condition(), self.block(inside, loop), []),
            "else": lambda: (self.condition(), self.block(inside, loop), self.block(inside, loop)),
            "for": lambda: (self.expression(), self.block(inside, True)),
            "do": lambda: (self.condition(), self.block(inside, True)),
            # Cases fall through where the draw says so.
            "switch": lambda: (
                self.expression(),
                [(self.block(inside, loop), self.draw.random() < 0.7) for _ in range(3)],
            ),
            "break": lambda: (self.condition(),),
            "continue": lambda: (self.condition(),),
            "return": lambda: (self.condition(),),
        }
        return (kind, number, *parts[kind]())

    # ---------------------------------------------------------------------------- as CUDA C

    def source(self) -> str:
        text = [
            f"__device__ __noinline__ void {self.name}_f{i}(uint32* v, uint32& trace) {{\n"
            f"{self.c_block(body)}}}\n"
            for i, body in enumerate(self.functions)
        ]
        return "".join(text) + (
            f"__device__ __forceinline__ void {self.name}_body(uint32* v, uint32& trace) {{\n"
            f"{self.c_block(self.body)}}}\n"
            f'extern "C" __global__ void {self.name}(const uint32* x, uint32* out, int n) {{\n'
            "const int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
            "if (i >= n) return;\n"
            "uint32 v[4], trace = 1;\n"
            "for (int j = 0; j < 4; ++j) v[j] = x[i * 4 + j];\n"
            f"{self.name}_body(v, trace);\n"
            "for (int j = 0; j < 4; ++j) out[i * 5 + j] = v[j];\n"
            "out[i * 5 + 4] = trace;\n}\n"
        )

    def c(self, node) -> str:
        if isinstance(node, int):
            return f"{node}u"
        if node[0] == "v":
            return f"v[{node[1]}]"
        return f"({self.c(node[1])} {node[0]} {self.c(node[2])})"

    def c_block(self, block) -> str:
        return "".join(map(self.c_statement, block))

    def c_statement(self, statement) -> str:
        kind, number, *parts = statement
        head = f"trace = trace * 31u + {number}u;\n"
        if kind == "assign":
            return head + f"v[{parts[0]}] = {self.c(parts[1])};\n"
        if kind == "add":
            return head + f"v[3] += {self.c(parts[0])};\n"
        if kind == "call":
            return head + f"{self.name}_f{parts[0]}(v, trace);\n"
        if kind in ("if", "else"):
            other = f" else {{\n{self.c_block(parts[2])}}}" if parts[2] else ""
            return head + f"if ({self.c(parts[0])}) {{\n{self.c_block(parts[1])}}}{other}\n"
        k = f"k{number}"
        if kind == "for":
            return head + (
                f"#pragma unroll 1\nfor (uint32 {k} = 0, n = {self.c(parts[0])} % 5u; {k} < n;"
                f" ++{k}) {{\n{self.c_block(parts[1])}}}\n"
            )
        if kind == "do":
            return head + (
                f"{{ uint32 {k} = 0;\n#pragma unroll 1\ndo {{\n{self.c_block(parts[1])}"
                f"}} while (++{k} < 4u && {self.c(parts[0])}); }}\n"
            )
        if kind == "switch":
            cases = "".join(
                f"case {i}:\n{self.c_block(block)}{'break;' * ends}\n"
                for i, (block, ends) in enumerate(parts[1])
            )
            # `break` and `continue` in a case are those of C: `break` leaves the switch.
            return head + f"switch ({self.c(parts[0])} % 4u) {{\n{cases}}}\n"
        return head + f"if ({self.c(parts[0])}) {kind};\n"

    # --------------------------------------------------------------------------- as Python

    def run(self, values):
        """Return the variables and the trace after a thread with these variables."""
        state = [*values, 1]
        self.call(self.body, state)
        return state

    def call(self, body, state):
        with contextlib.suppress(Return):
            self.execute(body, state)

    def value(self, node, state):
        if isinstance(node, int):
            return node
        if node[0] == "v":
            return state[node[1]]
        return OPERATORS[node[0]](self.value(node[1], state), self.value(node[2], state))

    def execute(self, block, state):
        for kind, number, *parts in block:
            state[4] = state[4] * 31 + number & WORD
            getattr(self, f"do_{kind}")(state, *parts)

    def do_assign(self, state, place, expression):
        state[place] = self.value(expression, state)

    def do_add(self, state, expression):
        state[3] = state[3] + self.value(expression, state) & WORD

    def do_call(self, state, function):
        self.call(self.functions[function], state)

    def do_if(self, state, condition, then, other):
        self.execute(then if self.value(condition, state) else other, state)

    do_else = do_if

    def do_for(self, state, count, body):
        for _ in range(self.value(count, state) % 5):
            try:
                self.execute(body, state)
            except Continue:
                continue
            except Break:
                break

    def do_do(self, state, condition, body):
        for k in range(1, 5):
            try:
                self.execute(body, state)
            except Continue:
                pass
            except Break:
                break
            if k == 4 or not self.value(condition, state):
                break

    def do_switch(self, state, chosen, cases):
        try:
            for block, ends in cases[self.value(chosen, state) % 4 :]:
                self.execute(block, state)
                if ends:
                    break
        except Break:
            pass

    def do_break(self, state, condition):
        if self.value(condition, state):
            raise Break

    def do_continue(self, state, condition):
        if self.value(condition, state):
            raise Continue

    def do_return(self, state, condition):
        if self.value(condition, state):
            raise Return
