# SPDX-License-Identifier: Apache-2.0
"""The meaning of PTX instructions on NumPy arrays.

Every instruction is an entry of a table, under its full name: one that is not there is not known,
whatever it resembles.
"""

from ptx_machine.semantics import bits, conversions, floats, integers, predicates, tables
from ptx_machine.semantics.matrix import LDMATRIX, MMA, LdMatrix, Mma
from ptx_machine.semantics.operations import Operation
from ptx_machine.semantics.warp import SHUFFLES, VOTES

__all__ = ["LdMatrix", "Mma", "Operation", "find", "ldmatrix", "mma", "shuffle", "vote"]

_OPERATIONS: dict[str, Operation] = {}
for _module in (integers, bits, tables, floats, conversions, predicates):
    _OPERATIONS |= _module.OPERATIONS


def find(opcode: str) -> Operation | None:
    """Return what an instruction computes in a lane, or None if it is not known."""
    return _OPERATIONS.get(opcode)


def mma(opcode: str) -> Mma | None:
    return MMA.get(opcode)


def ldmatrix(opcode: str) -> LdMatrix | None:
    return LDMATRIX.get(opcode)


def shuffle(mode: str):
    """Return a function of shfl.sync's operands b and c, or None."""
    return SHUFFLES.get(mode)


def vote(mode: str):
    """Return a function of the lanes' predicates and of which lanes take part, or None."""
    return VOTES.get(mode)
