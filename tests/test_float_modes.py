# SPDX-License-Identifier: Apache-2.0
"""The caller's floating-point modes change no bit, and are the caller's again afterwards."""

import functools

import pytest

import children
from children_in_modes import (
    FLUSH_TO_ZERO,
    MODES_MISSING,
    ROUND_DOWN,
    ROUND_TOWARD_ZERO,
    ROUND_UP,
)

pytestmark = pytest.mark.skipif(MODES_MISSING is not None, reason=str(MODES_MISSING))

run_child = functools.partial(children.run_child, module="children_in_modes")

when = pytest.mark.parametrize("pool_first", [False, True], ids=["before-pool", "after-pool"])


children_of = pytest.mark.parametrize("child", ["keep_bits_in_modes", "keep_codes_in_modes"])


@when
@children_of
def test_flush_to_zero_changes_nothing(child, pool_first, backend):
    ended = run_child(child, backend.isa_name, pool_first, FLUSH_TO_ZERO)
    assert ended.returncode == 0, ended.stderr


@children_of
def test_rounding_mode_changes_nothing(child, backend):
    ended = run_child(child, backend.isa_name, False, ROUND_DOWN, ROUND_UP, ROUND_TOWARD_ZERO)
    assert ended.returncode == 0, ended.stderr


def test_no_mode_changes_a_bit_of_a_quantized_layer(integer_backend):
    ended = run_child("keep_layers_in_modes", integer_backend.isa_name)
    assert ended.returncode == 0, ended.stderr
