# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels on disk, for other processes: read wherever there are some, kept where possible.

Numba's own cache takes the first place that can be written, and looks nowhere else: what the
administrator of a machine has compiled, or who built an image, would be compiled again by each
process. Where a disk is full it fails.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba.core import caching, config

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("halfbyte")


class Cache:
    """What a dispatcher asks of its cache: NUMBA_CACHE_DIR, or else beside the source and in the
    user's folder."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    @functools.cached_property
    def _caches(self) -> list[Any]:
        found = []
        for kind in _kinds():
            try:
                found.append(kind(self._function))
            except RuntimeError:  # no place for this function
                continue
        return found

    @property
    def cache_path(self) -> str | None:
        """The first place."""
        return self._caches[0].cache_path if self._caches else None

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return what was compiled for a signature, if that is anywhere."""
        for cache in self._caches:
            try:
                found = cache.load_overload(signature, target_context)
            except OSError:  # no permission
                continue
            if found is not None:
                return found
        _log.info("compiling %s for %s", self._function.__name__, signature.args[0].isa.name)
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep what was compiled, in the first place that takes it."""
        for cache in self._caches:
            try:
                Path(cache.cache_path).mkdir(parents=True, exist_ok=True)
                cache.save_overload(signature, compiled)
            except OSError:  # no permission, no space
                continue
            return
        _warn(tuple(cache.cache_path for cache in self._caches))


@functools.cache
def _kinds() -> list[type[caching.FunctionCache]]:
    """Numba's cache, of each place that it knows, whether or not that can be written."""
    places, kinds = caching.CompileResultCacheImpl._locator_classes, []
    for place in places[:1] if config.CACHE_DIR else places:  # the first is the one that was chosen
        asked_later = type(place.__name__, (place,), {"ensure_cache_path": lambda _: None})
        impl = type("Impl", (caching.CompileResultCacheImpl,), {"_locator_classes": [asked_later]})
        kinds.append(type("FunctionCache", (caching.FunctionCache,), {"_impl_class": impl}))
    return kinds


@functools.cache
def _warn(places: tuple[str, ...]) -> None:
    """Say once that every process will compile."""
    _log.warning(  # not `warnings`, which may be told to raise
        "compiled kernels cannot be kept in %s: every process compiles them anew; set "
        "NUMBA_CACHE_DIR to a folder that can be written",
        " or ".join(places) or "any place",
    )
