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


def read_model(path: Union[str, os.PathLike]) -> bytes:
    """The same, of what is no old HDF5 file of Keras 2."""
    content = read_bytes(path)
    if content.startswith(b"\x89HDF"):
        raise ModelError(
            f"`{os.fspath(path)}` is an HDF5 file, as Keras 2 wrote them or `save_weights` does: open the "
            "model in Keras 3 and save it as `.keras`"
        )
    return content


def write_whole(path: Union[str, os.PathLike], content: bytes) -> None:
    """Writes a file beside its place and renames it, so that it is never half there."""
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    try:
        handle, beside = tempfile.mkstemp(dir=folder, prefix=".oddns-")
    except OSError as error:
        # Which name was tried beside it is nobody's business.
        raise type(error)(error.errno, error.strerror, path) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)
        os.replace(beside, path)
    except OSError as error:
        os.unlink(beside)
        raise type(error)(error.errno, error.strerror, path) from None
    except BaseException:
        os.unlink(beside)
        raise
