"""Files that are written whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Makes the file `path` hold `data`, on the disk, before anyone can see a part of it.

    Raises: OSError or ValueError when it cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(None, "is a folder")
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=".perfsim-", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def why(error: Exception) -> str:
    """What the system says of a file, for the middle of a sentence."""
    return str(getattr(error, "strerror", None) or error).lower()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
