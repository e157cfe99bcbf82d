"""Waiting for operations of the core."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import anyio
import pytest

from proxmoxsandbox import _operations
from proxmoxsandbox._operations import CoreError, finish

from .conftest import Run
from .fake_core import Core, Operation, core_error, wait


def started(work: Any) -> Any:
    return Operation(work)


def test_a_result_arrives(core: Core, run: Run) -> None:
    assert run(finish, started(lambda stop: "done")) == "done"


def test_an_error_arrives(core: Core, run: Run) -> None:
    def fail(stop: threading.Event) -> None:
        raise core_error("auth", "the password is refused")

    with pytest.raises(CoreError) as caught:
        run(finish, started(fail))
    assert caught.value.kind == "auth"


def test_two_hundred_wait_at_once(core: Core, run: Run) -> None:
    results: list[int] = []

    async def one(number: int) -> None:
        def work(stop: threading.Event) -> int:
            wait(stop, 0.2)
            return number

        results.append(await finish(started(work)))

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one, number)

    run(all_of_them)
    assert sorted(results) == list(range(200))


def test_a_cancelled_wait_stops_the_operation_and_waits_for_its_end(core: Core, run: Run) -> None:
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        try:
            wait(stop, 60)
        finally:
            time.sleep(0.1)  # undoing takes a while
            ended.set()

    async def main() -> bool:
        with anyio.move_on_after(0.1) as scope:
            await finish(started(work))
        assert ended.is_set(), "the wait was over before the operation"
        return scope.cancelled_caught

    assert run(main)


def test_an_operation_that_never_ends_holds_a_cancelled_wait_only_so_long(
    core: Core, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_operations, "CANCEL_LIMIT", 0.2)
    release = threading.Event()

    async def main() -> float:
        begin = time.monotonic()
        with anyio.move_on_after(0.1):
            await finish(started(lambda stop: release.wait(60)))
        return time.monotonic() - begin

    assert 0.2 < run(main) < 5
    release.set()


def test_an_end_that_comes_with_the_cancellation_is_no_result(core: Core, run: Run) -> None:
    async def main() -> bool:
        operation = started(lambda stop: "done")
        while not operation.done():
            time.sleep(0.01)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await finish(operation)
        return scope.cancelled_caught

    assert run(main)


def test_importing_the_package_starts_nothing() -> None:
    code = """
import os
import inspect_ai.util, anyio, yaml
def threads(): return len(os.listdir("/proc/self/task"))
before = threads(), len(os.listdir("/proc/self/fd"))
looked_at = []
get = type(os.environ).__getitem__
type(os.environ).__getitem__ = lambda self, name: looked_at.append(name) or get(self, name)
import proxmoxsandbox._registry
assert (threads(), len(os.listdir("/proc/self/fd"))) == before
import proxmoxsandbox._operations as operations
assert operations._core is None
assert not [name for name in looked_at if name.startswith("PROXMOX")], looked_at
"""
    pytest.importorskip("proxmoxsandbox._core")
    if not hasattr(sys.modules["proxmoxsandbox._core"], "check_spec"):
        pytest.skip("the extension module is not built")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
