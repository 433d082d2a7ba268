# SPDX-License-Identifier: Apache-2.0
"""What tests run in a process of its own that rounds the wrong way or flushes subnormals to zero.

Each function keeps the bits it promises although the caller has set such a mode.
"""

import ctypes
import platform
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np

FLUSH_TO_ZERO = 0x8040  # MXCSR: FTZ and DAZ
ROUND_DOWN, ROUND_UP, ROUND_TOWARD_ZERO = 0x2000, 0x4000, 0x6000
_MODES = 0xE040
_MXCSR_IN_FENV = slice(28, 32)

MODES_MISSING = (
    None
    if sys.platform == "linux" and platform.machine() == "x86_64"
    else "no fenv_t of Linux on x86-64, by which the test reaches MXCSR"
)


def current_modes():
    """Return the calling thread's rounding and flush-to-zero bits."""
    return _mxcsr(_environment()) & _MODES


def set_modes(bits):
    """Set the calling thread's rounding and flush-to-zero bits."""
    environment = _environment()
    value = _mxcsr(environment) & ~_MODES | bits
    environment[_MXCSR_IN_FENV] = list(value.to_bytes(4, "little"))
    ctypes.CDLL("libm.so.6").fesetenv(environment)


def _environment():
    environment = (ctypes.c_ubyte * 32)()
    ctypes.CDLL("libm.so.6").fegetenv(environment)
    return environment


def _mxcsr(environment):
    return int.from_bytes(bytes(environment[_MXCSR_IN_FENV]), "little")


def keep_bits_in_modes(isa_name, pool_first, *modes):
    """Return every function's usual bits although the caller has set modes; leave them set."""
    from backends import CpuBackend
    from halfbyte_reference import gemm_f16, inputs, linear, to_f16, to_f32

    backend = CpuBackend(isa_name)
    backend.set_num_threads(2)
    backend.warm_up()
    a, b = inputs.halves((300, 200), 1), inputs.halves((200, 300), 2)
    w, small = b.T.copy(), a / np.float16(1024)
    subnormal = inputs.floats((300, 300), 3, "bits").view(np.uint32) & np.uint32(0x807FFFFF)
    c = subnormal.view(np.float32)
    # alpha brings most of the products of `small` below 2^-126; c and bias are there already.
    steps = {"alpha": 1.25 * 2.0**-120, "beta": 1.0, "c": c, "bias": c[0]}
    gemm, layer = (backend.gemm_f16, gemm_f16), (backend.linear, linear)
    calls = {
        "product": (*gemm, (a, b), {}),
        "small": (*gemm, (small[:3, :5], b[:5, :9]), {"alpha": steps["alpha"]}),
        "large": (*gemm, (small, b), steps),
        "half": (*gemm, (a, b), {"out_dtype": np.float16, "alpha": 2.0**-20}),
        "decoding": (*layer, (a[0], w), {}),
        "rounded": (*layer, (c[:2, :200], w), {}),
        "inexact alpha": (*gemm, (a[:3, :5], b[:5, :9]), {"alpha": 0.1}),
        "subnormal alpha": (*gemm, (a[:3, :5], b[:5, :9]), {"alpha": 2.0**-140}),
        "to_f16": (backend.to_f16, to_f16, (inputs.floats(100_003, 4, "wide"),), {}),
        "to_f32": (backend.to_f32, to_f32, (inputs.every_half(),), {}),
    }
    packed = backend.prepack(b)
    pairs = {
        name: (partial(got, *args, **named), partial(want, *args, **named))
        for name, (got, want, args, named) in calls.items()
    }
    pairs["packed"] = (partial(backend.gemm_f16, small, packed, **steps), pairs["large"][1])
    if pool_first:
        backend.gemm_f16(a, b)
    _keep_bits(backend, pairs, modes)


def keep_codes_in_modes(isa_name, pool_first, *modes):
    """Return every quantization's usual bits although the caller has set modes; leave them set."""
    import halfbyte
    import halfbyte_reference as reference
    from backends import CpuBackend
    from halfbyte_reference import inputs, inputs_quantized

    backend = CpuBackend(isa_name)
    backend.set_num_threads(1)  # and so no pool yet
    backend.warm_up()
    x = inputs.floats((300, 301), 1)
    acc = inputs_quantized.accumulators((300, 301), 2)
    scale = inputs_quantized.scales(301, 3, "subnormal")
    near = inputs_quantized.near_ties(np.broadcast_to(scale, x.shape), 4)
    # Scales from data around 2^-126, below which they become 1.
    small = x * np.exp2(np.linspace(-140, -110, 300))[:, None].astype(np.float32)
    # Extremes that two threads find: the least in the first half, or in the other.
    two_parts = np.zeros(2**18, np.float32)
    two_parts[[0, 1, -1]] = 2.0**-117, -(2.0**-127), -(2.0**-130)
    ones = {"axis": 1, "scale": scale}

    def codes(q):
        parts = [part.tobytes() for part in (q.values, q.scale, q.zero_point) if part is not None]
        return np.frombuffer(b"".join(parts), np.uint8)

    def reference_codes(x, **named):
        q = reference.quantize(x, **named)
        return codes(SimpleNamespace(values=q.codes, scale=q.scale, zero_point=q.zero_point))

    def quantization(x, **named):
        return lambda: codes(backend.quantize(x, **named)), lambda: reference_codes(x, **named)

    def observation(make, *arrays):
        def parts(library):
            with backend.forced():
                observer = make(library)
                for array in arrays:
                    observer.update(array)
                scale, zero_point = observer.scale_zero_point(symmetric=False)
            return codes(SimpleNamespace(values=scale, scale=scale, zero_point=zero_point))

        return lambda: parts(halfbyte), lambda: parts(reference)

    def unchanged(call):
        before = call()
        return call, lambda: before

    tensor = backend.quantize(near, **ones)
    gradients = partial(backend.fake_quantize_backward, x, near, scale, axis=1)
    tiny = x * np.float32(2.0**-141)
    tiny_gradients = partial(backend.fake_quantize_backward, tiny, near, scale, axis=1)
    pairs = {
        "data": quantization(x),
        "rows": quantization(small, axis=0),
        "affine rows": quantization(small, axis=0, symmetric=False),
        "two parts": quantization(two_parts, symmetric=False),
        "two parts the other way round": quantization(two_parts[::-1], symmetric=False),
        "groups": quantization(small, group_size=32, bits=3),
        "mse": unchanged(lambda: codes(backend.quantize(small, axis=0, bits=3, method="mse"))),
        "subnormal scales": quantization(near, **ones),
        "stochastic": quantization(near, **ones, rounding="stochastic", seed=5),
        "halves": quantization(x.astype(np.float16), scale=np.float32(0.01)),
        "number": unchanged(lambda: codes(backend.quantize(x, scale=0.1))),
        "subnormal number": unchanged(lambda: codes(backend.quantize(near, scale=2.0**-140))),
        "dequantize": (
            partial(backend.dequantize, tensor),
            lambda: reference.dequantize(tensor.values, scale, axis=1),
        ),
        "dequantize to halves": unchanged(
            partial(backend.dequantize, backend.quantize(x), dtype=np.float16)
        ),
        "requantize": (
            partial(backend.requantize, acc, np.float32(1e-8), bias=x[0]),
            lambda: reference.requantize(acc, np.float32(1e-8), bias=x[0]),
        ),
        "fake": (
            partial(backend.fake_quantize, near, scale, axis=1),
            lambda: reference.fake_quantize(near, scale, axis=1),
        ),
        "extremes": observation(lambda library: library.MinMaxObserver(0), small, -small),
        "subnormal extremes": observation(
            lambda library: library.MinMaxObserver(),
            *(np.float32([low, 2.0**-117]) for low in (-(2.0**-127), -(2.0**-130))),
        ),
        "averages": observation(lambda library: library.MovingAverageObserver(0), small, x, near),
        "subnormal averages": observation(
            lambda library: library.MovingAverageObserver(momentum=2.0**-140),
            *(np.float32([0.0, high]) for high in (2.0**-117, 2.0**22)),
        ),
        "dx": unchanged(lambda: gradients()[0]),
        "dscale": unchanged(lambda: gradients()[1]),
        "subnormal dscale": unchanged(lambda: tiny_gradients()[1]),
    }
    backend.set_num_threads(2)
    if pool_first:
        backend.quantize(x)
    _keep_bits(backend, pairs, modes)


def keep_layers_in_modes(isa_name):
    """Return usual bits of integer products and quantized layers in one mode after the other."""
    import halfbyte_reference as reference
    from backends import CpuBackend
    from halfbyte_reference import inputs, inputs_quantized
    from quantized_tensors import tensor

    backend = CpuBackend(isa_name)
    backend.set_num_threads(2)
    backend.warm_up()
    m, k, n = 150, 300, 200
    a, b = inputs_quantized.codes((m, k), 1), inputs_quantized.codes((k, n), 2, 8, False)
    x, bias = inputs.floats((m, k), 3), inputs.floats(n, 4)
    # Row scales around 2^-126, below which they become 1; and results below it.
    small = x * np.exp2(np.linspace(-140, -110, m))[:, None].astype(np.float32)
    subnormal = {"kind": "subnormal"}
    forms = {
        "plain": {"axis": 0},
        "nibbles": {"axis": 0, "bits": 4, "affine": True},
        "groups": {"group_size": 32, "bits": 4},
        "affine groups": {"group_size": 37, "signed": False},
    }

    def layer(name, x, w, **named):
        called = {"axis": w.axis, "group_size": w.group_size}
        given, codes = x, x
        if hasattr(x, "values"):
            codes = x.values
            called |= {"x_scale": x.scale, "x_zero_point": x.zero_point, "x_axis": x.axis}
        want = partial(
            reference.linear_int, codes, w._codes(), w.scale, w.zero_point, **called, **named
        )
        pairs[name] = partial(backend.linear, given, w, **named), want
        pairs[f"{name}, packed"] = lambda: backend.linear(given, backend.prepack(w), **named), want

    def requantized(name, x, w, scale, **named):
        # The reference rounds the scale, which here must be done before the mode is set.
        single = np.float32(scale)
        want = reference.linear_int(
            x, w._codes(), w.scale, w.zero_point, axis=w.axis, group_size=w.group_size,
            out_scale=single, **named,
        ).codes  # fmt: skip
        pairs[name] = lambda: backend.linear(x, w, out_scale=scale, **named).values, lambda: want

    pairs = {}
    pairs["product"] = (
        partial(backend.gemm_int, a, b, a_zero_point=3, b_zero_point=5),
        partial(reference.gemm_int, a, b, a_zero_point=3, b_zero_point=5),
    )
    for name, form in forms.items():
        w = tensor((n, k), 5, **form)
        tiny = tensor((n, k), 5, **form)
        tiny.scale[...] = inputs_quantized.scales(w.scale.shape, 6, **subnormal)
        layer(name, x, w, bias=bias)
        layer(f"{name}, one row", x[:1], w, bias=bias)
        layer(f"{name}, small rows", small, w)
        layer(f"{name}, small scales", x, tiny, activation="relu")
        layer(f"{name}, to halves", x, w, out_dtype=np.float16)
        layer(f"{name}, weight-only", x, w, x_bits=16)
        layer(f"{name}, weight-only, small scales", x, tiny, x_bits=16)
        layer(f"{name}, weight-only, small rows", small[:9], w, x_bits=16)
        requantized(f"{name}, requantized", x, w, 0.1)
        requantized(f"{name}, requantized, small", x, tiny, 2.0**-140, out_zero_point=3)
        smooth = partial(backend.linear, x, w, bias, activation="gelu")
        pairs[f"{name}, gelu"] = smooth, smooth
    q = tensor((m, k), 7, axis=0, affine=True)
    layer("codes", q, tensor((n, k), 5, axis=0), bias=bias)
    # Sums that FP32 does not hold.
    long_x, long_w = tensor((3, 4099), 8, signed=False), tensor((n, 4099), 9, group_size=2048)
    layer("long codes", long_x, long_w)
    every = FLUSH_TO_ZERO, FLUSH_TO_ZERO, ROUND_DOWN, ROUND_UP, ROUND_TOWARD_ZERO
    _keep_bits(backend, pairs, every)


def _keep_bits(backend, pairs, every):
    """Call the first of each pair in each of the modes, the second before them: same bits."""
    from assertions import assert_same_bits

    wants = {want: want() for want in dict.fromkeys(want for _, want in pairs.values())}
    for bits in every:
        set_modes(bits)
        gots = {name: got() for name, (got, _) in pairs.items()}
        after = current_modes()
        set_modes(0)
        if after != bits:
            msg = f"MXCSR modes are {after:#x} after the calls, want {bits:#x}"
            raise AssertionError(msg)
        for name, got in gots.items():
            assert_same_bits(got, wants[pairs[name][1]], f"{backend}, {name}, modes {bits:#x}")
