# SPDX-License-Identifier: Apache-2.0
"""Real text with labels that every machine has: what the standard library says of itself.

A sentence is the first paragraph of a docstring, its label the module that it is from.
"""

from __future__ import annotations

import ast
import random
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

WORDS = range(5, 60)  # of a sentence


class Sentence(NamedTuple):
    text: str
    module: str


def sentences(modules: int, each: int, seed: int = 0) -> list[Sentence]:
    """So many sentences of each of so many modules, chosen among those that have enough."""
    root = Path(sysconfig.get_path("stdlib"))
    rng = random.Random(seed)
    chosen: list[list[Sentence]] = []
    seen: set[str] = set()
    paths = sorted(path for path in root.glob("*.py") if not path.name.startswith("_"))
    rng.shuffle(paths)
    for path in paths:
        own = [text for text in _of_source(path) if text not in seen]
        if len(own) >= each:
            seen.update(own)
            chosen.append([Sentence(text, path.stem) for text in rng.sample(own, each)])
        if len(chosen) == modules:
            return [sentence for own in chosen for sentence in own]
    msg = f"the standard library in {root} has {len(chosen)} modules with {each} docstrings"
    raise ValueError(msg + f"; need {modules}")


def _of_source(path: Path) -> list[str]:
    """The sentences of a file, each once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in strings
        tree = ast.parse(path.read_bytes())
    texts = (text.partition("\n\n")[0] for text in _docstrings(ast.walk(tree)))
    flat = (" ".join(text.split()) for text in texts)
    return list(dict.fromkeys(text for text in flat if len(text.split()) in WORDS))


def _docstrings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
