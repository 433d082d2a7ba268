# SPDX-License-Identifier: Apache-2.0
"""The machine that is measured on, and the environment that a contender is given."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

from bench import ROOT

MEMORY_CAP = 1_500_000_000  # bytes of weights that one contender may hold
HOLDERS = 24  # contenders of one row, and the copies that some of them need to prepare

# Each of these makes NumPy's BLAS choose other kernels or blocks than the CPU's own.
DISTORTING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE", "MKL_CBWR")

# Holds the peers to the instruction set that halfbyte is held to, so that ratios mean something.
PEER_CEILINGS = {
    "avx2": {
        "OPENBLAS_CORETYPE": "Haswell",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
    "avxvnni": {
        "OPENBLAS_CORETYPE": "Haswell",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2_VNNI",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
# numkong has no variable, but a function; these are what it may keep.
NUMKONG_CEILINGS = {
    "avx2": {"serial", "haswell"},
    "avxvnni": {"serial", "haswell", "alder"},
    "avx512": {"serial", "haswell", "skylake"},
}

THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "HALFBYTE_NUM_THREADS",
)


def worker_environment(threads: int, isa: str | None) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in DISTORTING}
    # Without byte code, every fresh process would compile halfbyte's sources anew.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env |= dict.fromkeys(THREAD_COUNTS, str(threads))
    # Threads that wait by spinning would steal a core from whoever runs next.
    env |= {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    if isa is not None:
        env |= {"HALFBYTE_ISA": isa} | PEER_CEILINGS.get(isa, {})
    return env


def usable_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def cores() -> int:
    """Cores that this process may use; two SMT siblings are one core, with one core's FMA rate."""
    cpus = usable_cpus()
    siblings = {_read(f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus}
    return len(siblings)


def caches() -> dict[str, int]:
    """Bytes of each data cache of the first usable CPU, as {"L1": ..., "L2": ..., "L3": ...}."""
    sizes = {}
    first = min(usable_cpus())
    for index in range(8):
        place = f"cpu{first}/cache/index{index}"
        size = re.fullmatch(r"(\d+)([KM]?)", _read(f"{place}/size"))
        if size and _read(f"{place}/type") != "Instruction":
            scale = {"": 1, "K": 2**10, "M": 2**20}[size[2]]
            sizes[f"L{_read(f'{place}/level')}"] = int(size[1]) * scale
    return sizes


def last_level_cache() -> int:
    return max(caches().values(), default=32 * 2**20)


def copies_beyond_cache(nbytes: int) -> int:
    """How many arrays of `nbytes` must be used in turn for each to come from memory."""
    wanted = -(-4 * last_level_cache() // nbytes)
    return max(2, min(wanted, memory_cap() // nbytes))


def memory_cap() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MEMORY_CAP, memory // HOLDERS)


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def slug(name: str) -> str:
    plain = re.sub(r"\(R\)|\(TM\)|CPU|Processor|@.*", " ", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def describe() -> dict[str, Any]:
    distorting = [name for name in DISTORTING if name in os.environ]
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "cpus": len(usable_cpus()),
        "caches": caches(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": _versions(),
        "removed_from_environment": distorting,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in ("halfbyte", "numba", "llvmlite", "numpy", "torch", "numkong", "onnxruntime"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read(place: str) -> str:
    try:
        return (Path("/sys/devices/system/cpu") / place).read_text().strip()
    except OSError:
        return ""
