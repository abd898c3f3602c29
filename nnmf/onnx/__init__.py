"""The way out: trained models as ONNX files, which run without this package and without MXNet."""

from __future__ import annotations

from ._export import export_factors_onnx, export_onnx
from ._graph import ExportedIds

__all__ = ["ExportedIds", "export_factors_onnx", "export_onnx"]
