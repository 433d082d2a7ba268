# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis draws for quantization: bits, ranges, channels, scales and their data."""

import numpy as np
from hypothesis import strategies as st

from halfbyte_reference.inputs_quantized import SCALE_KINDS, codes, near_ties, scales

BITS = (2, 3, 4, 8)
RANGES = [(True, False), (True, True), (False, False)]  # signed, narrow

every_bits = st.sampled_from(BITS)
every_range = st.sampled_from(RANGES)
scale_kinds = st.sampled_from(SCALE_KINDS)


def affine_case(shape, seed, kind, bits, signed, narrow):
    """Return numbers around the edges between codes, and each one's own scale and zero point."""
    scale = scales(shape, [seed, 0], kind)
    zero_point = codes(shape, [seed, 1], bits, signed, narrow).astype(np.int32)
    return near_ties(scale, [seed, 2], 2**bits, non_finite=True), scale, zero_point
