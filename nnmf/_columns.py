"""`columns_of`: the columns of a file by their names, as a setting tells them."""

from __future__ import annotations

from nnmf.errors import ConfigError, one_of

__all__ = ["columns_of"]

_ROLES = ("user", "item", "rating", "timestamp")


def columns_of(text: str) -> dict[str, str]:
    """The columns that a text such as ``user=customer,item=sku,rating=stars`` names.

    Parameters
    ----------
    text : str
        Roles (``user``, ``item``, ``rating`` and, where there is one, ``timestamp``) and columns of the file.

    Returns
    -------
    dict of str to str
        The column of each role.

    Raises
    ------
    ConfigError
        A text that is none of these, an unknown role, one that occurs twice or is missing.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not (role and equals and column):
            raise ConfigError(f"columns: got {text!r}; give a text such as 'user=customer,item=sku,rating=stars'.")
        if role not in _ROLES:
            raise ConfigError(one_of(role, _ROLES, "columns"))
        if role in columns:
            raise ConfigError(f"columns: got {text!r}, which names the {role} column twice; name it once.")
        columns[role] = column
    if missing := [role for role in _ROLES[:3] if role not in columns]:
        raise ConfigError(f"columns: got {text!r}, which names no {missing[0]} column; add {missing[0]}=NAME.")
    return columns
