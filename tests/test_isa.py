# SPDX-License-Identifier: Apache-2.0
"""Which instruction sets a process uses: what Numba's target has, below HALFBYTE_ISA."""

import pickle

import pytest

import children
from halfbyte.cpu import isa, quantization_values


def test_generic_isa_runs_everywhere():
    assert isa.runnable()[0] == "generic"


def test_unknown_isa_cannot_be_forced():
    with pytest.raises(ValueError, match="avx1024"), isa.forced("avx1024"):
        pass


def test_unknown_ceiling_is_refused():
    child = children.run_child("multiply", HALFBYTE_ISA="avx1024")
    last = child.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: HALFBYTE_ISA"), child.stderr


def test_unknown_ceiling_is_named_in_the_refusal():
    child = children.run_child("multiply", HALFBYTE_ISA="avx1024")
    assert "avx1024" in child.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", isa.runnable())
def test_plain_isa_has_the_same_vectors_and_no_vnni(name):
    with isa.forced(name) as chosen:
        plain = chosen.with_lanes(2 * chosen.lanes).plain
    assert (plain.lanes, plain.register_bits) == (2 * chosen.lanes, chosen.register_bits)
    assert not plain.vnni
    assert (plain is chosen.with_lanes(plain.lanes)) == (not chosen.vnni)


@pytest.mark.parametrize("name", isa.runnable())
def test_kernels_that_multiply_no_integers_are_compiled_for_the_plain_isa(name):
    with isa.forced(name) as chosen:
        kernel = quantization_values.requantize
        assert kernel.compile(chosen) is kernel.compile(chosen.plain)


@pytest.mark.parametrize("name", isa.runnable())
def test_wider_isa_leaves_the_first_as_it_is(name):
    with isa.forced(name) as first:
        before = dict(vars(first))
        assert first.with_lanes(128).lanes == 128  # wider than any kernel's
        assert vars(first) == before


@pytest.mark.parametrize("name", isa.runnable())
@pytest.mark.parametrize("lanes", [None, 32, 128])
def test_isa_pickles(name, lanes):
    with isa.forced(name) as chosen:
        chosen = chosen.with_lanes(lanes or chosen.lanes)
    assert pickle.loads(pickle.dumps(chosen)) is chosen
