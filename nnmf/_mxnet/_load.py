"""Importing MXNet: quietly, once, and in one sentence where it cannot be."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from importlib.util import find_spec
from types import ModuleType

from nnmf.errors import BackendError

from . import _cuda, _engine, _install, _mend


@functools.cache
def load() -> ModuleType:
    """The ``mxnet`` module, imported (about a second) by the first call.

    In a process whose ``DMLC_ROLE`` is ``server`` or ``scheduler`` the import does the whole work of that role:
    it returns only when the distributed job has ended.

    Returns
    -------
    module
        ``mxnet``, with NumPy mended as `mend_numpy` does.

    Raises
    ------
    BackendError
        MXNet cannot be imported; the text says what to install or do.
    """
    # Read by the C++ side at each bind, which otherwise prints "Subgraph backend MKLDNN is activated."
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    if "mxnet" in sys.modules:  # a notebook imported it first, so it works; loading CUDA again could add second copies
        _mend.mend_numpy()
        return importlib.import_module("mxnet")
    build = _install.check_install()
    _forget_failed_import()
    # MXNet 1.9.1 warns about its own use of distutils, of NumPy's financial functions and of escapes in docstrings.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _mend.mend_numpy()
        _mend.provide_distutils()
        if build == "mxnet-cu112":
            _cuda.load_cuda_libraries()
        try:
            with _engine.chosen() if build == "mxnet" else contextlib.nullcontext():
                return importlib.import_module("mxnet")
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise BackendError(_why_import_failed(error, build)) from error


def repair_command() -> str:
    """The command that makes `load` work where it fails; it keeps the build that is there, if this machine can run it."""
    try:
        build = _install.installed_build()
    except BackendError:  # both
        return _install.replace_command("mxnet")
    if build is None:
        return _install.install_command()
    if find_spec("distutils") is None:
        return "pip install setuptools"
    if build == "mxnet-cu112":
        try:
            _cuda.query_gpus()
        except OSError:  # without a driver, only the build for CPUs can be imported
            build = "mxnet"
    return _install.replace_command(build)


def _forget_failed_import() -> None:
    """Drop the halves that a bare ``import mxnet`` left behind where it failed, so that the next one starts anew."""
    for name in [name for name in sys.modules if name.startswith("mxnet.")]:
        del sys.modules[name]


def _why_import_failed(error: Exception, build: str | None) -> str:
    text = " ".join(str(error).split())  # on one line
    if isinstance(error, OSError) and _cuda.DRIVER in text:
        return _cuda.no_driver()
    if isinstance(error, OSError):
        packages = {package for package, _, soname in _cuda.CUDA_LIBRARIES if soname in text}
        if packages:
            return f"MXNet lacks a CUDA library ({text}): {_install.cuda_command(packages)}"
    remedy = _install.replace_command(build or "mxnet")
    return f"MXNet cannot be imported ({type(error).__name__}: {text}); {remedy} may repair it"
