"""A lock on a file, so that two processes do not pay for the same calls."""

from __future__ import annotations

import sys
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt

    # Far behind the end of the file: Windows lets nobody else read what is locked.
    _PLACE = 2**31 - 2

    def acquire(file: IO[Any]) -> bool:
        """Lock a file until it is closed, and tell whether that could be done: another process may have it."""
        file.seek(_PLACE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def acquire(file: IO[Any]) -> bool:
        """Lock a file until it is closed, and tell whether that could be done: another process may have it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
