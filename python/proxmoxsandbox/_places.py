"""How the wait for room on a host shows in Inspect.

Inspect lists what is limited in its footer (`inspect_ai.util.concurrency`), and does not charge a
sample for waiting there. What limits us is the core's queue, so what is registered is that queue.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import select
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from inspect_ai.util import _concurrency, concurrency

from ._core import CoreError, Operation, Place
from ._operations import core, finish

_wanted: ContextVar[Operation] = ContextVar("_wanted")
_taken: ContextVar[list[Place]] = ContextVar("_taken")


class _Queue(contextlib.AbstractAsyncContextManager[None]):
    """A pool's queue, as an entry of Inspect's registry."""

    visible = True

    def __init__(self, name: str, pool: str) -> None:
        self.name = name
        self.semaphore = self
        self._pool = pool

    @property
    def concurrency(self) -> int:
        return core().use(self._pool)[1]

    @property
    def in_use(self) -> int:
        return core().use(self._pool)[0]

    @property
    def value(self) -> int:
        samples, most = core().use(self._pool)
        return max(0, most - samples)

    async def __aenter__(self) -> None:
        _taken.get().append(await finish(_wanted.get()))

    async def __aexit__(self, *args: Any) -> None:
        """The place is given back by the core, when the sample's VMs are gone."""


async def take_place(spec: str, pool: str, task_name: str, sample: str) -> Place:
    """Waits for room on a host of the pool, in the order of asking.

    Raises:
        CoreError: What the core reports.
    """
    name = f"proxmox/{pool}"
    operation = core().take_place(spec, task_name, sample)
    if not _is_registered(name, pool):
        place: Place = await finish(operation)
        return place
    taken: list[Place] = []
    _wanted.set(operation)
    _taken.set(taken)
    async with concurrency(name, 1, name):
        return taken[0]


def _is_registered(name: str, pool: str) -> bool:
    """Puts the queue where `concurrency()` finds it. Inspect has no public way to bring a limit of
    one's own; where this one is not there, the wait is charged and not shown."""
    registry: Any = getattr(_concurrency, "_concurrency_registry", None)
    semaphores = getattr(registry, "_semaphores", None)
    if not isinstance(semaphores, dict):
        return False
    # The key's suffix came with limits that can change.
    can_change = "resizable" in inspect.signature(registry.get_or_create).parameters
    semaphores.setdefault(f"{name}#static" if can_change else name, _Queue(name, pool))
    return True


@dataclass
class _Capacity:
    environment: int  # its hash
    asked: float
    number: int | None


_capacity: _Capacity | None = None


def capacity() -> int | None:
    """How many small samples all servers of the environment take at once.

    Inspect asks on its event loop, once for each sample: the answer is kept, and asked for again
    after a minute where there was none.
    """
    global _capacity
    environment = hash(tuple(item for item in os.environ.items() if item[0][:8] == "PROXMOX_"))
    now = time.monotonic()
    known = _capacity
    is_same = known is not None and known.environment == environment
    if known is not None and is_same and (known.number is not None or now - known.asked < 60):
        return known.number
    _capacity = _Capacity(environment, now, _ask_for_capacity())
    return _capacity.number


def _ask_for_capacity() -> int | None:
    operation = core().capacity()
    try:
        # The core gives up after 5 s.
        ended, _, _ = select.select([operation.fileno()], [], [], 10)
        number: int | None = operation.result() if ended else None
        return number
    except CoreError:
        return None  # task_init says what is wrong
    finally:
        operation.cancel()
        operation.close()
