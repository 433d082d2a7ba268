# SPDX-License-Identifier: Apache-2.0
"""Loads and stores of the PTX machine: every width, vector and space, against Python's bytes."""

import itertools
import random

import numpy as np
import pytest

from ptx_kernels import PRELUDE, each_architecture, launch, module

pytestmark = pytest.mark.usefixtures("nvrtc")

LANES = 72  # two warps and a quarter
C_TYPES = {"h": "uint16", "r": "uint32", "l": "uint64", "f": "float", "d": "double"}
REGISTER_BITS = {"h": 16, "r": 32, "l": 64, "f": 32, "d": 64}
KINDS = [f"{kind}{width}" for width in (8, 16, 32, 64) for kind in "bus"] + ["f32", "f64"]


def width_of(kind):
    return int(kind[1:])


def registers(kind):
    """Return the constraints of the registers that may hold a type: as wide, or wider."""
    if kind[0] == "f":
        return {"f32": "f", "f64": "d"}[kind]
    return [x for x in "hrl" if REGISTER_BITS[x] >= width_of(kind)]


def accesses():
    """Return (type, elements, register) of every access of at most 16 bytes."""
    for kind, elements in itertools.product(KINDS, (1, 2, 4)):
        if elements * width_of(kind) <= 128:
            # Vectors go to registers of their own width, or the least that there is.
            for register in registers(kind)[: 3 if elements == 1 else 1]:
                yield kind, elements, register


ACCESSES = tuple(accesses())


def text_of(access):
    kind, elements, _ = access
    return f".v{elements}.{kind}" if elements > 1 else f".{kind}"


def places(first, elements):
    names = ", ".join(f"%{first + i}" for i in range(elements))
    return f"{{{names}}}" if elements > 1 else names


def stride_of(access):
    return access[1] * width_of(access[0]) // 8


# ------------------------------------------------------------------------------------ loads

_LOAD = """
extern "C" __global__ void loads(const char* data, uint64* out) {
    __shared__ __align__(16) char shared[LANES * 16];
    const int i = threadIdx.x;
    for (int j = 0; j < 16; ++j) shared[i * 16 + j] = data[i * 16 + j];
    __syncthreads();
    const uint64 global_address = (uint64)data;
    const uint64 generic_address = (uint64)shared;
    const uint64 shared_address = __cvta_generic_to_shared(shared);
"""
# Instruction -> where its addresses count from.
LOADS = {
    "ld.global": "global_address",
    "ld.global.nc": "global_address",
    "ld.volatile.global": "global_address",
    "ld.shared": "shared_address",
    "ld.volatile.shared": "shared_address",
    "ld": "generic_address",
    "ld.generic": "global_address",
}


def load_source(instruction):
    lines = [PRELUDE, _LOAD]
    for n, access in enumerate(ACCESSES):
        _, elements, register = access
        outputs = ", ".join(f'"={register}"(x[{j}])' for j in range(elements))
        opcode = instruction.removesuffix(".generic") + text_of(access)
        lines.append(
            f"    {{ {C_TYPES[register]} x[{elements}];"
            f' asm volatile("{opcode} {places(0, elements)}, [%{elements}];" : {outputs}'
            f' : "l"({LOADS[instruction]} + i * {stride_of(access)}));\n'
            f"      for (int j = 0; j < {elements}; ++j) *({C_TYPES[register]}*)"
            f"(out + ({n} * LANES + i) * 4 + j) = x[j]; }}"
        )
    return "\n".join([*lines, "}"])


DATA = np.frombuffer(random.Random(1).randbytes(LANES * 16), np.uint8)


def extended(raw, access):
    """Return what a register holds after a load of these bytes."""
    kind, _, register = access
    value = int.from_bytes(raw, "little", signed=kind[0] == "s")
    return value & ((1 << REGISTER_BITS[register]) - 1)


def name_of(access):
    return f"{text_of(access)[1:]}-{C_TYPES[access[2]]}"


def expected_load(access):
    """Return what the lanes' registers hold after a load."""
    size, content = width_of(access[0]) // 8, DATA.tobytes()
    starts = range(0, LANES * stride_of(access), size)
    return [extended(content[start : start + size], access) for start in starts]


@each_architecture
@pytest.mark.parametrize("instruction", LOADS)
def test_loads_read_their_bytes_and_extend_them(instruction, architecture):
    built = module(load_source(instruction), architecture, (("LANES", LANES),))
    out = np.zeros((len(ACCESSES), LANES, 4), np.uint64)
    launch(built, "loads", 1, LANES, DATA, out)
    wrong = [
        name_of(access)
        for access, got in zip(ACCESSES, out, strict=True)
        if got[:, : access[1]].ravel().tolist() != expected_load(access)
    ]
    assert wrong == []


# ----------------------------------------------------------------------------------- stores

_STORE = """
extern "C" __global__ void stores(const uint64* in, char* out) {
    __shared__ __align__(16) char shared[LANES * 18];
    const int i = threadIdx.x;
    const uint64* x = in + i * 4;
    const uint64 generic_address = (uint64)shared;
    const uint64 shared_address = __cvta_generic_to_shared(shared);
"""
STORES = {
    "st.global": "(uint64)target",
    "st.volatile.global": "(uint64)target",
    "st": "(uint64)target",
    "st.shared": "shared_address",
    "st.generic": "generic_address",
}
AREA = LANES * 18  # of each access in the output, with bytes beyond that no store may change


def store_source(instruction):
    on_chip = "target" not in STORES[instruction]
    each = "#pragma unroll 1\nfor (int j = i; j < LANES * 18; j += LANES)"
    lines = [PRELUDE, _STORE]
    for n, access in enumerate(ACCESSES):
        _, elements, register = access
        c_type = C_TYPES[register]
        inputs = ", ".join(f'"{register}"(*(const {c_type}*)(x + {j}))' for j in range(elements))
        opcode = instruction.removesuffix(".generic") + text_of(access)
        lines += [
            f"    {{ char* target = out + {n * AREA};",
            f"{each} shared[j] = 0x5A;\n__syncthreads();" * on_chip,
            f'asm volatile("{opcode} [%0], {places(1, elements)};"',
            f':: "l"({STORES[instruction]} + i * {stride_of(access)}), {inputs} : "memory");',
            f"__syncthreads();\n{each} target[j] = shared[j];\n__syncthreads();" * on_chip,
            "}",
        ]
    return "\n".join([*lines, "}"])


REGISTER_CONTENT = random.Random(2).randbytes(LANES * 32)


def expected_store(access):
    """Return the bytes of an access's area after the store."""
    size = width_of(access[0]) // 8
    starts = (32 * i + 8 * j for i in range(LANES) for j in range(access[1]))
    want = b"".join(REGISTER_CONTENT[start : start + size] for start in starts)
    return want.ljust(AREA, b"\x5a")


@each_architecture
@pytest.mark.parametrize("instruction", STORES)
def test_stores_write_the_low_bytes_of_their_registers(instruction, architecture):
    built = module(store_source(instruction), architecture, (("LANES", LANES),))
    out = np.full((len(ACCESSES), AREA), 0x5A, np.uint8)
    content = np.frombuffer(REGISTER_CONTENT, np.uint64)
    launch(built, "stores", 1, LANES, content, out)
    wrong = [
        name_of(access)
        for access, got in zip(ACCESSES, out, strict=True)
        if got.tobytes() != expected_store(access)
    ]
    assert wrong == []


# ------------------------------------------------------------------------------ other spaces

SPACES = (
    PRELUDE
    + """
__constant__ uint16 table[5] = {1, 1000, 65535, 7, 9};
__constant__ float weights[2][3] = {{0.5f, -1.5f, 2.f}, {3.f, 1e-40f, -0.f}};
__device__ const uint8 bytes[] = {3, 1, 4, 1, 5, 9, 2, 6};
__device__ int32 counter = -5;

struct Nested { int16 a; struct { double b; uint8 c[3]; } inner; };

extern "C" __global__ void spaces(const int32* index, Nested by_value, uint8 small, int16 medium,
                                  int32* integers, float* floats) {
    const int i = threadIdx.x;
    const int k = index[i];
    int32 local[8];
    for (int j = 0; j < 8; ++j) local[(j * 3 + i) % 8] = j * 100 + i;  // where: known at run time
    local[k] += 7;
    integers += i * 8;
    integers[0] = table[k % 5];
    integers[1] = bytes[k];
    integers[2] = local[(k + i) % 8];
    integers[3] = local[k];
    integers[4] = by_value.a + by_value.inner.c[k % 3];
    integers[5] = small;
    integers[6] = medium;
    integers[7] = i == 0 ? atomicAdd(&counter, 3) : 0;
    floats[i * 2] = weights[k % 2][k % 3];
    floats[i * 2 + 1] = (float)by_value.inner.b;
}
"""
)


@each_architecture
def test_constants_parameters_and_local_arrays_are_indexed(architecture):
    draw = random.Random(3)
    index = [draw.randrange(8) for _ in range(LANES)]
    nested = np.zeros(1, np.dtype([("a", "<i2"), ("b", "<f8"), ("c", "u1", 3)], align=True))
    nested[0] = (-3, 0.25, (10, 20, 250))
    integers, floats = np.zeros((LANES, 8), np.int32), np.zeros((LANES, 2), np.float32)
    launch(
        module(SPACES, architecture),
        *("spaces", 1, LANES, np.array(index, np.int32), nested, np.uint8(200), np.int16(-300)),
        *(integers, floats),
    )
    weights = [[0.5, -1.5, 2.0], [3.0, float(np.float32(1e-40)), -0.0]]
    for i, k in enumerate(index):
        local = [0] * 8
        for j in range(8):
            local[(j * 3 + i) % 8] = j * 100 + i
        local[k] += 7
        assert integers[i].tolist() == [
            *([1, 1000, 65535, 7, 9][k % 5], [3, 1, 4, 1, 5, 9, 2, 6][k]),
            *(local[(k + i) % 8], local[k], -3 + [10, 20, 250][k % 3], 200, -300),
            -5 if i == 0 else 0,
        ]
        assert [str(x) for x in floats[i].tolist()] == [str(weights[k % 2][k % 3]), "0.25"]


@each_architecture
def test_variables_of_a_module_start_anew_with_each_memory(architecture):
    """A second launch in a fresh memory sees the initial value of `counter`."""
    test_constants_parameters_and_local_arrays_are_indexed(architecture)
    test_constants_parameters_and_local_arrays_are_indexed(architecture)
