# SPDX-License-Identifier: Apache-2.0
"""The bench of integer products and of layers with quantized weights: checks, peers, headlines."""

import dataclasses

import numpy as np
import pytest

import halfbyte
import halfbyte_reference as reference
from bench import (
    contenders,
    gemm_int,
    integer_peers,
    integers,
    layer_peers,
    layers,
    linear,
    machine,
    pairs,
    readme,
    table,
)
from bench.integers import Product
from bench.layers import CODES, HALVES, Layer
from bench.rows import Entry, Result, Row, Verdict

PRODUCTS = [
    pytest.param(Product(5, 7, 64, *kinds), id=" ".join(kinds))
    for kinds in (*gemm_int.KINDS, ("s4", "s4"))
]
LAYERS = [
    pytest.param(layer, id=layer.kind)
    for layer in (
        Layer(5, 48, 128),
        Layer(5, 48, 128, x=CODES),
        Layer(5, 48, 128, x=CODES, codes_out=True),
        Layer(5, 48, 128, x=HALVES),
        Layer(5, 48, 128, bits=4),
        Layer(5, 48, 128, bits=4, group_size=32),
        Layer(5, 48, 128, bits=4, group_size=32, x=HALVES),
    )
]
SLACK = 0.03  # of a layer's result; who rounds x to 7 bits is off by half of it
EXACT, INEXACT = Verdict(same_bits=True, off_by=0.0), Verdict(same_bits=False, off_by=40665.0)


def saturating_pairs(a, b):
    """The product as instructions give it that add two products to 16 bits, and saturate."""
    products = a.astype(np.int64)[:, :, None] * b.astype(np.int64)
    sums = np.clip(products[:, 0::2] + products[:, 1::2], -(2**15), 2**15 - 1)
    return sums.sum(axis=1).astype(np.int32)


def right(layer):
    """The reference's result."""
    return layers._reference(layer)[0][2].copy()


def libraries(names, table):
    """Contenders that are installed."""
    return [name for name in names if contenders.installed(table[name].library)]


def measured(row, **seconds):
    """A result in which contenders, by the start of their names, take so long, and roofs 1 s."""
    entries = []
    for name in row.contenders:
        taken = next((s for start, s in seconds.items() if name.startswith(start)), None)
        if taken is not None:
            ones = {kind: {0: 1.0} for kind in row.roofs}
            entry = Entry(name, {0: taken}, verdict=EXACT)
            entries.append(dataclasses.replace(entry, least={0: 1.0}, alone=ones))
    return Result(row, entries)


def test_the_best_exact_peer_is_not_the_fastest():
    entries = [Entry("fast", {0: 1.0}, verdict=INEXACT), Entry("right", {0: 2.0}, verdict=EXACT)]
    result = Result(Row("x", "x", {}, (), ""), entries)
    assert pairs.best_peer(result).contender == "fast"
    assert pairs.best_peer(result, exact=True).contender == "right"


@pytest.mark.parametrize(
    ("verdict", "exact", "error"),
    [
        (EXACT, "yes", ""),
        (INEXACT, "no", "up to 40665"),
        (Verdict(same_bits=False, acceptable=False, off_by=1.0), "WRONG", "up to 1"),
        (Verdict(same_bits=True, relative=0.0053), "yes", "0.53 %"),
    ],
)
def test_the_table_says_who_is_exact_and_how_far_off_others_are(verdict, exact, error):
    entry = Entry("x", verdict=verdict)
    assert (table.exactness(entry), table.error(entry)) == (exact, error)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_exact_product_passes_its_check(product):
    a, b = integers.operands_of(product)
    verdict = integers.check(product, reference.gemm_int(a, b), exact=True)
    assert verdict == Verdict(same_bits=True, off_by=0.0)


@pytest.mark.parametrize("product", PRODUCTS)
def test_one_wrong_number_does_not_pass_as_exact(product):
    got = reference.gemm_int(*integers.operands_of(product))
    got[-1, 0] -= 3
    assert not integers.check(product, got, exact=True).acceptable
    assert integers.check(product, got, exact=False) == Verdict(same_bits=False, off_by=3.0)


def test_floats_do_not_pass_for_integers():
    product = Product(5, 7, 64)
    got = reference.gemm_int(*integers.operands_of(product)).astype(np.float32)
    assert not integers.check(product, got, exact=True).acceptable
    assert integers.check(product, got, exact=False).same_bits


@pytest.mark.parametrize("m", [1, 5, 300])
def test_the_data_show_who_saturates(m):
    product = Product(m, 300, 64, "u8", "s8")
    a, b = integers.operands_of(product)
    assert integers.check(product, saturating_pairs(a, b), exact=False).off_by > 0


@pytest.mark.parametrize("m", [1, 5])
def test_the_data_show_who_saturates_two_signed_bytes(m):
    product = Product(m, 7, 64)
    a, b = integers.operands_of(product)
    by_magnitude = saturating_pairs(a, b)  # |a| times b with the sign of a: 2 * 128 * 128
    assert integers.check(product, by_magnitude, exact=False).off_by > 0


def test_the_data_show_who_adds_up_in_float32():
    product = Product(5, 7, 1024, "u8", "s8")
    a, b = integers.operands_of(product)
    nearest = reference.gemm_int(a, b).astype(np.float32)
    assert integers.check(product, nearest, exact=False).off_by > 0


@pytest.mark.parametrize("product", PRODUCTS)
def test_peers_are_exact_where_nobody_saturates(product, monkeypatch):
    a, b = integers.operands_of(product)
    monkeypatch.setattr(integers, "operands_of", lambda _: (a // 16, b // 16))
    integers._reference.cache_clear()
    names = libraries(integer_peers.suited(product), gemm_int.CONTENDERS)
    prepared = [gemm_int.CONTENDERS[n].prepare(dataclasses.asdict(product)) for n in names]
    verdicts = [job.check() for job in prepared]
    integers._reference.cache_clear()
    assert [verdict.off_by for verdict in verdicts] == [0.0] * len(names)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_right_bits_pass_the_check_of_a_layer(layer):
    verdict = layers.check(layer, right(layer), exact=True)
    assert verdict.same_bits
    assert verdict.acceptable
    assert verdict.relative < SLACK


@pytest.mark.parametrize("layer", LAYERS)
def test_one_wrong_bit_does_not_pass_the_check_of_a_layer(layer):
    got = right(layer)
    got.view(np.uint8)[-1, -1] ^= 1
    assert not layers.check(layer, got, exact=True).acceptable


def test_the_sums_of_a_layer_are_checked():
    layer = Layer(5, 48, 128)
    got = reference.gemm_int(layers.codes_of_rows(layer), layers.inputs_of(layer).codes.T)
    assert layers.check_sums(layer, got).acceptable
    got[0, 0] += 1
    assert not layers.check_sums(layer, got).acceptable


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # deprecated
@pytest.mark.parametrize("layer", LAYERS)
def test_peers_compute_the_same_layer(layer):
    names = libraries(layer_peers.suited(layer), linear.CONTENDERS)
    prepared = [linear.CONTENDERS[n].prepare(dataclasses.asdict(layer)) for n in names]
    far = [n for n, job in zip(names, prepared, strict=True) if job.check().relative > SLACK]
    assert far == []


@pytest.mark.parametrize(("bits", "group"), linear.STREAMED)
def test_bytes_that_a_layer_reads_are_those_of_its_packed_weights(bits, group):
    layer = Layer(1, 128, 256, bits, group)
    given = layers.inputs_of(layer)
    codes = halfbyte.Int4Array.pack(given.codes) if bits == 4 else given.codes
    q = halfbyte.QuantizedTensor(codes, given.scale, bits=bits, **layer.channel)
    assert layer.weight_bytes == halfbyte.prepack(q).nbytes


def test_a_square_of_int4_on_avx2_is_in_units_of_the_fma_roof():
    row = linear._row(Layer(1024, 1024, 1024, 4), 1)
    line = linear.headlines([measured(row, halfbyte=0.4)], "avx2")[0]
    assert (line.figure, line.must, line.reached) == (2.5, 2.3, "yes")


def test_a_square_of_int4_with_vnni_is_a_fraction_of_the_integer_roof():
    row = linear._row(Layer(1024, 1024, 1024, 4), 1)
    line = linear.headlines([measured(row, halfbyte=1.25)], "avx512vnni")[0]
    assert (line.figure, line.must, line.reached) == (0.8, 0.96, "no")


@pytest.mark.parametrize(
    ("name", "reached"), [("avx512vnni", "no"), ("avx2", "yes"), ("generic", "")]
)
def test_goals_of_products_are_those_of_the_isa(name, reached):
    row = gemm_int._row(Product(1024, 1024, 1024), 1)
    lines = gemm_int.headlines([measured(row, halfbyte=1 / 0.935)], name)
    (line,) = (x for x in lines if x.what.startswith("s8 x s8, 1024^3, one thread, plain, of"))
    assert line.reached == reached


def test_the_slowest_square_is_the_headline_against_exact_peers():
    rows = [gemm_int._row(Product(n, n, n), 1) for n in (1024, 2048)]
    first, second = (measured(row, halfbyte=1.0, torch=1.1, numpy=9.0) for row in rows)
    second.entry("torch._int_mm").seconds[0] = 0.9
    second.entry("torch._int_mm").verdict = INEXACT
    lines = gemm_int.headlines([first, second], "avx512vnni")
    (line,) = (x for x in lines if x.what.startswith("s8 x s8, 1000^3 .. 2048^3"))
    assert (line.figure, line.reached) == (1.1, "dream")


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """README with what was measured of one product and one layer."""
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text(f"{readme.START}\nold\n{readme.END}\n")
    product = measured(gemm_int._row(Product(1024, 1024, 1024), 1), halfbyte=2.0, torch=4.0)
    product.entry("torch._int_mm").verdict = INEXACT
    layer = Layer(1024, 1024, 1024, 4, 32)
    layer = measured(linear._row(layer, 1), halfbyte=2.0, onnxruntime=8.0)
    layer.entry("onnxruntime level 4").seconds[0] = 4.0
    for entry in layer.entries:
        entry.verdict = Verdict(same_bits=False, relative=0.0053)
    machine = {"cpu": "x", "cores": 1, "isa": "avx2"}
    readme.update(tmp_path / "results", machine, [product, layer])
    return (tmp_path / "README.md").read_text().splitlines()


def test_readme_says_who_is_exact(shown):
    line = "| s8 x s8 | 1024 x 1024 x 1024 | 1.07 (0.500) | 1.07 (0.500) | 0.537 |  |  |  "
    assert line + "| all but torch._int_mm (up to 40665) |" in shown


def test_readme_says_how_far_off_layers_are(shown):
    line = "| W4A8, groups of 32 | 1024 x 1024 x 1024 | 1.07 (0.500) | 1.07 (0.500) | 0.53 % "
    assert line + "|  |  | 0.537 level 4 | 0.53 % |  |  |" in shown


@pytest.mark.parametrize("name", machine.NUMKONG_CEILINGS)
def test_numkong_knows_what_it_is_held_to(name):
    numkong = pytest.importorskip("numkong", reason="numkong is not installed")
    assert machine.NUMKONG_CEILINGS[name] < set(numkong.get_capabilities())
