"""Waiting for the core's operations, on asyncio and trio alike, without threads."""

from __future__ import annotations

import atexit
import logging
from typing import Any

import anyio
import anyio.lowlevel

from ._core import Core, CoreError, Operation

logger = logging.getLogger("proxmoxsandbox")
# Inspect's handlers choose what they show; without a level of its own this logger would take the
# root's, and the INFO lines would never reach the evaluation's log, nor the others the trace. 13 is
# Inspect's TRACE.
logger.setLevel(13)

CANCEL_LIMIT = 60.0
"""Seconds that a cancelled operation gets to undo what it began."""

_core: Core | None = None


def core() -> Core:
    """The process's core; its thread starts at the first use."""
    global _core
    if _core is None:
        _core = Core(logger.log)
        atexit.register(_close)
    return _core


def _close() -> None:
    """Ends the core's thread before the interpreter goes, for the thread logs through Python."""
    global _core
    if _core is not None:
        _core.close()
        _core = None


async def finish(operation: Operation) -> Any:
    """The operation's result. A wait that is cut short stops the operation before it goes on.

    Raises:
        CoreError: What the core reports.
    """
    try:
        await _wait(operation)
    # Trio hands a Ctrl-C to whoever waits, as it is.
    except (anyio.get_cancelled_exc_class(), KeyboardInterrupt):
        operation.cancel()
        with anyio.move_on_after(CANCEL_LIMIT, shield=True):
            await _wait(operation)
        raise
    else:
        return operation.result()
    finally:
        operation.close()


async def _wait(operation: Operation) -> None:
    if operation.done():
        await anyio.lowlevel.checkpoint()
        return
    await anyio.wait_readable(operation.fileno())


__all__ = ["CoreError", "core", "finish", "logger"]
