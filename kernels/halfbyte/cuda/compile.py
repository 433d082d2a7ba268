# SPDX-License-Identifier: Apache-2.0
"""CUDA C to machine code, by NVRTC.

NVRTC needs neither a GPU nor CUDA's headers: a kernel includes nothing but the `.cuh` files of this
folder, which are handed over in memory. CuPy's own way to compile is not used: it appends
`-ftz=true` to the options, and its cache does not see headers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from halfbyte.cuda import cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    Defines = Mapping[str, int | str]

OLDEST = 75  # compute capability 7.5, Turing

_OLDEST_NVRTC = (12, 8)  # what the extras ask for: the first that knows Blackwell

SOURCES = Path(__file__).parent

# No contraction: every rounding is one that was written. Subnormals are kept, NVRTC's default.
# No header comes from the working directory, which would be the source's own.
OPTIONS = ("-std=c++17", "-fmad=false", "-lineinfo", "--no-source-include")


def build(stem: str, defines: Defines, target: str) -> bytes:
    """Compile `<stem>.cu` to a cubin (target `sm_80`) or to PTX (target `compute_80`).

    ImportError: CuPy or NVRTC is not installed. RuntimeError: NVRTC refuses the source; its log is
    in the message.
    """
    return build_source(_source(stem), f"{stem}.cu", defines, target)


def build_source(source: str, name: str, defines: Defines, target: str) -> bytes:
    """Compile a text that may include this folder's headers, as `build` does a file of it.

    name: what messages and line numbers call the text.
    """
    nvrtc = _nvrtc()
    headers = _headers()
    program = nvrtc.createProgram(
        source, name, [text.encode() for text in headers.values()], [*map(str.encode, headers)]
    )
    try:
        try:
            nvrtc.compileProgram(program, _options(defines, target))
        except nvrtc.NVRTCError as error:
            msg = f"NVRTC {_version(nvrtc)} cannot compile {name} for {target} with "
            msg += f"{dict(defines)}: {error}\n{nvrtc.getProgramLog(program).strip()}"
            raise RuntimeError(msg) from error
        if target.startswith("sm_"):
            # CuPy cuts off the last byte, a zero, as if it ended a text.
            machine_code: bytes = nvrtc.getCUBIN(program) + b"\0"
            return machine_code
        ptx: bytes = nvrtc.getPTX(program)
        return ptx
    finally:
        nvrtc.destroyProgram(program)


def cubin(stem: str, defines: Defines, capability: int) -> Path:
    """Compile `<stem>.cu` for a device, or find what was compiled before, and return the file.

    RuntimeError: the device is older than halfbyte or NVRTC supports; else as `build`.
    """
    if capability < OLDEST:
        msg = f"the GPU has compute capability {_dotted(capability)}; "
        msg += f"need {_dotted(OLDEST)} (Turing) or later"
        raise RuntimeError(msg)
    nvrtc = _nvrtc()
    target = _target(capability, nvrtc.getSupportedArchs())
    key = _key(stem, defines, target, _version(nvrtc))
    return cache.find(key) or cache.store(key, build(stem, defines, target))


def _nvrtc() -> Any:
    """Return CuPy's NVRTC, checked to be there."""
    try:
        import cupy
        from cupy.cuda import nvrtc
    except ImportError as error:
        msg = f'a GPU needs CuPy: pip install "halfbyte[cuda13]" or "halfbyte[cuda12]"; {error}'
        raise ImportError(msg) from error
    try:
        version = nvrtc.getVersion()
    except RuntimeError as error:  # CuPy loads the library when it is first called
        major = cupy.cuda.driver.get_build_version() // 1000
        msg = f'a GPU needs NVRTC: pip install "halfbyte[cuda{major}]"; {error}'
        raise ImportError(msg) from error
    if version < _OLDEST_NVRTC:
        major = version[0]
        msg = f"NVRTC is {_version(nvrtc)}; need {'.'.join(map(str, _OLDEST_NVRTC))} or later: "
        msg += f'pip install "halfbyte[cuda{major}]"'
        raise ImportError(msg)
    return nvrtc


def _version(nvrtc: Any) -> str:
    return ".".join(map(str, nvrtc.getVersion()))


def _target(capability: int, supported: tuple[int, ...]) -> str:
    """Return the closest target that a device runs: its own, an older one of its generation, PTX.

    Machine code runs on later devices of its own generation only, PTX on all later ones.
    """
    older = [arch for arch in supported if OLDEST <= arch <= capability]
    if not older:
        msg = f"NVRTC supports compute capabilities {', '.join(map(_dotted, supported))}; "
        msg += f"the GPU has {_dotted(capability)}"
        raise RuntimeError(msg)
    closest = max(older)
    return f"sm_{closest}" if closest // 10 == capability // 10 else f"compute_{closest}"


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def _options(defines: Defines, target: str) -> tuple[str, ...]:
    return (
        *OPTIONS,
        f"-arch={target}",
        *(f"-D{name}={value}" for name, value in sorted(defines.items())),
    )


def _source(stem: str) -> str:
    return (SOURCES / f"{stem}.cu").read_text(encoding="utf-8")


def _headers() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.cuh"))}


def _key(stem: str, defines: Defines, target: str, version: str) -> str:
    """Hash all that the machine code depends on."""
    parts = (version, stem, _source(stem), _headers(), _options(defines, target))
    return cache.digest(repr(parts).encode())
