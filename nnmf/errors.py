"""The errors users see: one clear sentence each, and the exit code a command answers with."""

from __future__ import annotations

__all__ = ["BackendError", "ConfigError", "DataError", "NnmfError", "TrainingError", "one_of"]


class NnmfError(Exception):
    """Base of every error this package raises on purpose; its text is one sentence that says what to do."""

    exit_code = 1


class ConfigError(NnmfError, ValueError):
    """A setting, flag or argument that cannot be used (exit code 2)."""

    exit_code = 2


class DataError(NnmfError, ValueError):
    """A table, file, folder or download that cannot be used (exit code 1)."""


class BackendError(NnmfError, ImportError):
    """MXNet, or the device or cluster asked for, that cannot be used (exit code 1)."""


class TrainingError(NnmfError, ArithmeticError):
    """Training that cannot go on, for instance because it diverged (exit code 1)."""


def one_of(value: object, allowed: object, what: str) -> str:
    """The field's usual sentence for a wrong choice: ``what: got 'x' instead of one of [...]``."""
    return f"{what}: got {value!r} instead of one of {sorted(allowed)}"  # type: ignore[call-overload]
