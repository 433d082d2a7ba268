# SPDX-License-Identifier: Apache-2.0
"""Mixed-precision training: loss scaling, and optimizers on FP32 masters."""

from halfbyte.amp.adam import Adam, AdamW
from halfbyte.amp.gradients import clip_grad_norm, unscale
from halfbyte.amp.scaler import GradScaler
from halfbyte.amp.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "GradScaler", "clip_grad_norm", "unscale"]
