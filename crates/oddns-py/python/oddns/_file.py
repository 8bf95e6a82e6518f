"""Model files."""

from __future__ import annotations

import os
import tempfile
from typing import Union

from ._errors import ModelError

#: Models have some hundred KiB; what is larger is none.
_MOST_BYTES = 256 * 1024 * 1024


def read_bytes(path: Union[str, os.PathLike]) -> bytes:
    """A whole file that may be a model."""
    size = os.stat(path).st_size
    if size > _MOST_BYTES:
        raise ModelError(f"`{os.fspath(path)}` has {size} bytes: that is no model")
    with open(path, "rb") as file:
        return file.read()


def write_whole(path: Union[str, os.PathLike], content: bytes) -> None:
    """Writes a file beside its place and renames it, so that it is never half there."""
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    handle, beside = tempfile.mkstemp(dir=folder, prefix=".oddns-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
