# SPDX-License-Identifier: Apache-2.0
"""Machine code on disk, under a key, for other processes to find.

The folder is HALFBYTE_CACHE_DIR, else one in the user's cache folder; where that cannot be written,
each process has a temporary one. A file is named `<key>-<digest of its content>.cubin`: one that
was cut short or changed is seen not to be what was written. Several processes that write the same
one need no lock, since a file appears under its name when it is complete.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path


def digest(content: bytes) -> str:
    """Name content by 128 bits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:32]


def find(key: str) -> Path | None:
    """Return the file that was stored under the key, if there is a sound one."""
    for folder in _folders():
        # No permission, or another process removed a file after it was listed.
        with contextlib.suppress(OSError):
            for path in folder.glob(f"{key}-*.cubin"):
                if path.stem == f"{key}-{digest(path.read_bytes())}":
                    return path
    return None


def store(key: str, content: bytes) -> Path:
    """Write content to a file under the key."""
    for folder in _folders():
        with contextlib.suppress(OSError):  # no permission, no space
            return _write(folder, key, content)
    return _write(_process_folder(os.getpid()), key, content)


def _write(folder: Path, key: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}-{digest(content)}.cubin"
    handle, unfinished = tempfile.mkstemp(dir=folder, prefix=f"{key}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(unfinished).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(unfinished).unlink()
        raise
    return path


def _folders() -> list[Path]:
    """Return where files may be, the lasting folder first."""
    folders = []
    with contextlib.suppress(RuntimeError):  # there is no home
        chosen = os.environ.get("HALFBYTE_CACHE_DIR")
        lasting = Path(chosen).expanduser() if chosen else _user_cache() / "halfbyte"
        folders.append(lasting.absolute())
    if _process_folder.cache_info().currsize:
        folders.append(_process_folder(os.getpid()))
    return folders


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    # The XDG specification ignores relative paths.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return cache if cache.is_absolute() else Path.home() / ".cache"


@functools.cache
def _process_folder(process: int) -> Path:
    """Return a folder that this process, and not one forked from it, removes at its end."""
    folder = Path(tempfile.mkdtemp(prefix="halfbyte-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
