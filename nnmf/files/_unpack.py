"""Unpacking archives that need not be trusted."""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nnmf.errors import DataError

from ._download import disk

MAX_UNPACKED_BYTES = 4 << 30  # ml-25m, the largest set, unpacks to less than 1 GiB


def unpack(
    archive: str | os.PathLike[str],
    members: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
) -> Path:
    """Unpack the wanted members of a zip archive, flat, into ``folder``, which is made; returns it.

    A member is wanted if its name below the archive's one top folder (or at its top) is in ``members``. All of them
    are first unpacked, with their CRCs checked, into a temporary folder beside ``folder``, then renamed.

    Raises
    ------
    DataError
        One sentence, with the path: damaged or encrypted archive, a missing member, any entry with an absolute name
        or ``..``, a wanted one that is no plain file, more than ``max_bytes`` (default 4 GiB) declared, full disk,
        no permission. Nothing half-written stays.
    """
    archive, folder = Path(archive), Path(folder)
    with disk(archive, "read"):
        file = archive.open("rb")
    with file, contextlib.ExitStack() as stack:
        stack.enter_context(disk(folder))
        try:
            opened = stack.enter_context(zipfile.ZipFile(file))
            wanted = _wanted(opened, archive, members, max_bytes)
            folder.parent.mkdir(parents=True, exist_ok=True)
            outer = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            stack.callback(shutil.rmtree, outer, ignore_errors=True)
            temporary = outer / folder.name  # unlike mkdtemp's, with the permissions the user's umask asks for
            temporary.mkdir()
            for name, info in wanted.items():
                with opened.open(info) as source, (temporary / name).open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeError) as error:
            raise DataError(f"{archive} is damaged or no zip archive that can be read ({error})") from error
        if folder.exists():
            for name in wanted:
                (temporary / name).replace(folder / name)
        else:
            temporary.rename(folder)
    return folder


def _wanted(
    opened: zipfile.ZipFile, archive: Path, members: Sequence[str], max_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    """The entry of each wanted member, or a DataError about the first thing in the archive that cannot be trusted."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        name = info.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
            raise DataError(f"{archive} is refused because its member {info.filename!r} points outside the folder")
        if not 1 <= len(parts) <= 2 or parts[-1] not in members:
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() or kind not in (0, stat.S_IFREG):
            raise DataError(f"{archive} is refused because its member {info.filename!r} is no plain file")
        if parts[-1] in found:
            raise DataError(f"{archive} is refused because it holds {parts[-1]} twice")
        found[parts[-1]] = info
    if missing := [name for name in members if name not in found]:
        raise DataError(f"{archive} does not hold {', '.join(missing)}")
    declared = sum(info.file_size for info in found.values())
    if declared > max_bytes:
        raise DataError(f"{archive} is refused because it would unpack to {declared} bytes, more than {max_bytes}")
    return found
