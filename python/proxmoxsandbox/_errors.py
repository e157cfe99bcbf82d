"""What the core's errors are to Inspect: one table."""

from __future__ import annotations

import errno
from collections.abc import Callable

import inspect_ai.util
from inspect_ai.util import OutputLimitExceededError

from ._core import CoreError

# Newer versions of Inspect tell a lost sandbox apart; for older ones it fails the sample.
SandboxUnavailableError: type[Exception] = getattr(
    inspect_ai.util, "SandboxUnavailableError", RuntimeError
)


def _timeout(error: CoreError, path: str, limit: str) -> Exception:
    made = TimeoutError(error.message)
    # Inspect shows this to the model.
    made.truncated_output = error.partial_output.decode(errors="replace")  # type: ignore[attr-defined]
    return made


def _unavailable(error: CoreError, path: str, limit: str) -> Exception:
    return SandboxUnavailableError(error.message)


def _permission(error: CoreError, path: str, limit: str) -> Exception:
    return PermissionError(errno.EACCES, "Permission denied.", path)


def _not_found(error: CoreError, path: str, limit: str) -> Exception:
    return FileNotFoundError(errno.ENOENT, "No such file or directory.", path)


def _directory(error: CoreError, path: str, limit: str) -> Exception:
    return IsADirectoryError(errno.EISDIR, "Is a directory.", path)


def _limit(error: CoreError, path: str, limit: str) -> Exception:
    return OutputLimitExceededError(limit, None)


def _value(error: CoreError, path: str, limit: str) -> Exception:
    return ValueError(error.message)


_TABLE: dict[str, Callable[[CoreError, str, str], Exception]] = {
    "timeout": _timeout,
    "unavailable": _unavailable,
    "agent_down": _unavailable,
    "unreachable": _unavailable,
    "proxy": _unavailable,
    "not_found": _unavailable,
    "file_permission": _permission,
    "file_not_found": _not_found,
    "is_directory": _directory,
    "output_limit": _limit,
    "bad_input": _value,
}


def to_inspect(error: CoreError, path: str = "", limit: str = "") -> Exception:
    """The exception that Inspect expects.

    Args:
        error: What the core reported.
        path: The file or program it was about.
        limit: The limit that was in force, as text ("100 MiB").
    """
    make = _TABLE.get(error.kind)
    return make(error, path, limit) if make else RuntimeError(error.message)
