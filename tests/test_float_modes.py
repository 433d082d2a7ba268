# SPDX-License-Identifier: Apache-2.0
"""The caller's floating-point modes change no bit, and are the caller's again afterwards."""

import pytest

import children

pytestmark = pytest.mark.skipif(
    children.MODES_MISSING is not None, reason=str(children.MODES_MISSING)
)

when = pytest.mark.parametrize("pool_first", [False, True], ids=["before-pool", "after-pool"])


children_of = pytest.mark.parametrize("child", ["keep_bits_in_modes", "keep_codes_in_modes"])


@when
@children_of
def test_flush_to_zero_changes_nothing(child, pool_first, backend):
    ended = children.run_child(child, backend.isa_name, children.FLUSH_TO_ZERO, pool_first)
    assert ended.returncode == 0, ended.stderr


@children_of
@pytest.mark.parametrize(
    "rounding",
    [children.ROUND_DOWN, children.ROUND_UP, children.ROUND_TOWARD_ZERO],
    ids=["down", "up", "toward-zero"],
)
def test_rounding_mode_changes_nothing(child, rounding, backend):
    ended = children.run_child(child, backend.isa_name, rounding, False)
    assert ended.returncode == 0, ended.stderr
