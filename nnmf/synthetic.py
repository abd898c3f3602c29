"""The door to the embedded table that is drawn from a known model."""

from __future__ import annotations

from nnmf.datasets import SyntheticTable, synthetic

__all__ = ["SyntheticTable", "synthetic"]
