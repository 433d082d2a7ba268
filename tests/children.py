# SPDX-License-Identifier: Apache-2.0
"""What tests run in a process of its own: `run_child("name", ...)` calls the function `name` there.

A child fails by raising. These functions change the process (its children, its end), which a test
process could not survive or undo; those of `children_in_modes` change its floating-point modes.
"""

import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np


def run_child(function, *args, module="children", timeout=120, **environment):
    """Call `module.function(*args)` in a fresh process and return the completed process."""
    code = f"import {module}; {module}.{function}(*{args!r})"
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def multiply_after_fork(isa_name):
    """Use the pool, fork, and use it in both processes."""
    _use_pool(isa_name)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_use_pool, args=(isa_name,)) for _ in range(3)]
    for child in children:
        child.start()
    _use_pool(isa_name)
    for child in children:
        child.join()
    codes = [child.exitcode for child in children]
    if any(codes):
        msg = f"forked processes ended with {codes}"
        raise AssertionError(msg)


def multiply_in_a_fork_of_a_busy_process(isa_name):
    """Fork while another thread is inside a product."""
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            _use_pool(isa_name)

    busy = threading.Thread(target=keep_busy)
    _use_pool(isa_name)
    busy.start()
    context = multiprocessing.get_context("fork")
    codes = []
    for _ in range(8):
        child = context.Process(target=_use_pool, args=(isa_name,))
        child.start()
        child.join()
        codes.append(child.exitcode)
    stop.set()
    busy.join()
    if any(codes):
        msg = f"forked processes ended with {codes}"
        raise AssertionError(msg)


def end_with_a_live_pool(isa_name):
    """Return from the main program while workers wait; print when."""
    _use_pool(isa_name)
    sys.stdout.write(f"{time.monotonic()}\n")


def end_inside_a_product(isa_name):
    """Return from the main program while a daemon thread is inside a product; print when."""

    def keep_busy():
        while True:
            _use_pool(isa_name)

    _use_pool(isa_name)
    threading.Thread(target=keep_busy, daemon=True).start()
    time.sleep(0.2)
    sys.stdout.write(f"{time.monotonic()}\n")


def _use_pool(isa_name):
    from assertions import assert_same_bits
    from backends import CpuBackend
    from halfbyte_reference import gemm_f16
    from halfbyte_reference.inputs import halves

    backend = CpuBackend(isa_name)
    backend.set_num_threads(2)
    a, b = halves((400, 50), 1), halves((50, 900), 2)
    assert_same_bits(backend.gemm_f16(a, b), gemm_f16(a, b), backend)


def print_modules_after_import(name):
    """Import `name` and print every top-level module that came with it."""
    before = set(sys.modules)
    __import__(name)
    sys.stdout.write(
        " ".join(sorted({module.partition(".")[0] for module in set(sys.modules) - before}))
    )


def print_runnable(*ceilings):
    """Print the instruction sets that this process may use, a line for each HALFBYTE_ISA."""
    from halfbyte.cpu import isa

    for ceiling in ceilings or (os.environ.get("HALFBYTE_ISA", ""),):
        os.environ["HALFBYTE_ISA"] = ceiling
        sys.stdout.write(" ".join(isa.runnable()) + "\n")


def print_instructions(isa_name):
    """Print each instruction that multiplies integers for many rows, and its kind of register."""
    import numba
    from numba.core import types

    from halfbyte.cpu import isa
    from halfbyte.cpu.gemm_int_many import multiply_many

    # Compiled anew: Numba shows none of what its cache holds.
    function = numba.njit(multiply_many._dispatcher.py_func, error_model="numpy", nogil=True)
    with isa.forced(isa_name) as chosen:
        function.compile(types.none(chosen._numba_type_, *multiply_many._signature))
    code = "".join(function.inspect_asm().values())
    found = set(re.findall(r"\s(v?pdp\w+|v?pmadd\w+)\s.*%([xyz]mm)", code))
    sys.stdout.write("\n".join(map(" ".join, sorted(found))))


def print_num_threads():
    """Print how many threads a fresh process uses."""
    import halfbyte

    sys.stdout.write(str(halfbyte.get_num_threads()))


def multiply():
    """Multiply two small matrices."""
    import halfbyte

    halfbyte.gemm_f16(np.ones((2, 3), np.float16), np.ones((3, 4), np.float16))
