"""What MXNet 1.9.1 misses on today's Python and NumPy, put back where it is missing and nowhere else."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NoReturn

from nnmf.errors import BackendError


def mend_numpy() -> None:
    """Give NumPy back the names that it dropped and MXNet reads, so that ``import mxnet`` works.

    They stay, for MXNet reads them while it runs as well as while it is imported. What NumPy has is not touched.
    """
    numpy = importlib.import_module("numpy")
    # NumPy 1.20 to 1.23 have these, with a warning at each use that MXNet's user can do nothing about.
    for name, alias in (("bool", bool), ("int", int)):
        if name not in vars(numpy):
            setattr(numpy, name, alias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy 1.x on the names that it still has
        for name, replacement in _dropped(numpy).items():
            if not hasattr(numpy, name):
                setattr(numpy, name, replacement)


def _dropped(numpy: Any) -> dict[str, Any]:
    """The names that NumPy 2 dropped and ``import mxnet`` reads, each with what it was."""
    names: dict[str, Any] = {
        "PZERO": 0.0,
        "NZERO": -0.0,
        "PINF": numpy.inf,
        "NINF": -numpy.inf,
        "Inf": numpy.inf,
        "NaN": numpy.nan,
        "NAN": numpy.nan,
        "alltrue": numpy.all,
        "sometrue": numpy.any,
        "product": numpy.prod,
        "round_": numpy.round,
        "in1d": lambda ar1, ar2, **options: numpy.isin(ar1, ar2, **options).ravel(),
        "msort": lambda a: numpy.sort(a, axis=0),
    }
    if hasattr(numpy, "trapezoid"):  # NumPy 2.0 renamed trapz, and dropped the old name later
        names["trapz"] = numpy.trapezoid
    # NumPy's financial functions only ever raised since 1.20; MXNet hands them on all the same.
    return names | {name: _financial(name) for name in ("mirr", "npv", "pmt", "ppmt", "pv", "rate")}


def _financial(name: str) -> Callable[..., NoReturn]:
    def gone(*_arguments: object, **_options: object) -> NoReturn:
        raise RuntimeError(f"numpy.{name} was removed from NumPy 1.20: the package numpy-financial has it")

    gone.__name__ = name
    return gone


def provide_distutils() -> None:
    """Put setuptools' copy of distutils in place where Python 3.12 and newer have none.

    Raises
    ------
    BackendError
        Setuptools is not installed.
    """
    if find_spec("distutils") is not None:
        return
    try:  # importing setuptools puts its own copy in place
        importlib.import_module("setuptools")
        importlib.import_module("distutils.version")
    except ImportError as error:
        raise BackendError(
            "MXNet 1.9.1 imports distutils, which Python 3.12 and newer no longer have: pip install setuptools"
        ) from error
