# SPDX-License-Identifier: Apache-2.0
"""The meaning of PTX instructions on NumPy arrays.

Every instruction is an entry of a table, under its full name: one that is not there is not known,
whatever it resembles.
"""

from ptx_machine.semantics import conversions, floats, integers, predicates
from ptx_machine.semantics.matrix import LDMATRIX, MMA
from ptx_machine.semantics.operations import Operation

__all__ = ["LDMATRIX", "MMA", "OPERATIONS", "Operation"]

OPERATIONS = {
    **integers.OPERATIONS,
    **floats.OPERATIONS,
    **conversions.OPERATIONS,
    **predicates.OPERATIONS,
}  # what an instruction computes in a lane
