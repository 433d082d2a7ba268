# SPDX-License-Identifier: Apache-2.0
"""Numbers that carry a bound on their rounding errors: running error analysis.

Wilkinson's; Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.3.
"""

import numpy as np

_U = 2.0**-24 * (1 + 2.0**-16)
"""Unit roundoff of FP32, with room for the roundings of FP64, which are 2^-29 as large."""

_UNDERFLOW = 2.0**-150
"""Half the smallest subnormal, which a product, a quotient or a coefficient may be off by."""


class Running:
    """FP64 values, and how far FP32 ones may lie from them that took the same operations.

    Every operation passes the errors of its operands on and adds its own rounding, at most 2^-24 of
    the largest magnitude that the FP32 result may have had. FMA rounds less often, which the bound
    covers. Nothing may overflow.
    """

    def __init__(self, value, error=0.0) -> None:
        self.value = np.asarray(value, np.float64)
        self.error = np.broadcast_to(np.float64(error), self.value.shape)

    @property
    def _magnitude(self):
        return np.abs(self.value) + self.error

    def _rounded(self, underflow=_UNDERFLOW):
        return Running(self.value, self.error + _U * self._magnitude + underflow)

    def __add__(self, other):
        # A sum of FP32 numbers is exact where it is subnormal.
        return Running(self.value + other.value, self.error + other.error)._rounded(0.0)

    def __sub__(self, other):
        return self + Running(-other.value, other.error)

    def __mul__(self, other):
        error = self.error * other._magnitude + other.error * np.abs(self.value)
        return Running(self.value * other.value, error)._rounded()

    def __truediv__(self, other):
        # a' / b' - a / b = (a' - a - (b' - b) a / b) / b'
        least = np.abs(other.value) - other.error
        if not (least > 0).all():
            msg = "a divisor may be 0"
            raise ValueError(msg)
        quotient = self.value / other.value
        return Running(quotient, (self.error + other.error * np.abs(quotient)) / least)._rounded()

    def sqrt(self):
        """Take the root; a negative FP32 value is not possible.

        |sqrt(a') - sqrt(a)| = |a' - a| / (sqrt(a') + sqrt(a)) is at most |a' - a| / sqrt(a) and
        at most sqrt(|a' - a|).
        """
        root = np.sqrt(self.value)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.fmin(self.error / root, np.sqrt(self.error))
        return Running(root, error)._rounded(0.0)


def coefficient(x: float) -> Running:
    """Return a number that is rounded once to FP32."""
    return Running(x)._rounded()


def either(*ways: Running) -> Running:
    """Return one value, computed in any of several ways: the largest error counts."""
    return Running(ways[0].value, np.max([way.error for way in ways], axis=0))
