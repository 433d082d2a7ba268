# SPDX-License-Identifier: Apache-2.0
"""The caller's floating-point modes change no bit, and are the caller's again afterwards."""

import pytest

import children

pytestmark = pytest.mark.skipif(
    children.MODES_MISSING is not None, reason=str(children.MODES_MISSING)
)

when = pytest.mark.parametrize("pool_first", [False, True], ids=["before-pool", "after-pool"])


@when
def test_flush_to_zero_changes_nothing(pool_first, backend):
    child = children.run_child(
        "keep_bits_in_modes", backend.isa_name, children.FLUSH_TO_ZERO, pool_first
    )
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize(
    "rounding",
    [children.ROUND_DOWN, children.ROUND_UP, children.ROUND_TOWARD_ZERO],
    ids=["down", "up", "toward-zero"],
)
def test_rounding_mode_changes_nothing(rounding, backend):
    child = children.run_child("keep_bits_in_modes", backend.isa_name, rounding, False)
    assert child.returncode == 0, child.stderr
