# SPDX-License-Identifier: Apache-2.0
"""Lines of CUDA files that end in `// plant: <what it is>`, and kernels without one of them."""

import functools
import re
from contextlib import contextmanager
from unittest import mock

import ptx_backend
from halfbyte.cuda import compile as compiler


def plants(names):
    """Return file, number of the line, and what it is, of every marked line of these files."""
    return [
        (name, number, found[1])
        for name in names
        for number, line in enumerate((compiler.SOURCES / name).read_text().splitlines(), 1)
        if (found := re.search(r"// plant: (\w+)$", line))
    ]


@contextmanager
def left_out(name, number, stems):
    """Leave a line of a file out of the kernels of these stems for a block."""
    lines = (compiler.SOURCES / name).read_text().splitlines(keepends=True)
    text = "".join([*lines[: number - 1], "\n", *lines[number:]])
    source, headers, module = compiler._source, compiler._headers(), ptx_backend.module
    if name in headers:
        headers[name] = text

    @functools.cache
    def changed(architecture, stem, defines):
        return (module.__wrapped__ if stem in stems else module)(architecture, stem, defines)

    with (
        mock.patch.object(ptx_backend, "module", changed),
        mock.patch.object(
            compiler, "_source", lambda stem: text if f"{stem}.cu" == name else source(stem)
        ),
        mock.patch.object(compiler, "_headers", return_value=headers),
    ):
        yield
