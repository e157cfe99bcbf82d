"""The extension module's contract without a server: operations are threads with real eventfds."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

try:
    from proxmoxsandbox._core import CoreError
except ImportError:  # the extension module is not built: the tests here don't need it

    class CoreError(Exception):  # type: ignore[no-redef]
        kind = ""
        message = ""
        partial_output = b""


Work = Callable[[threading.Event], Any]
"""What an operation does; the event says that it was asked to stop."""


def core_error(kind: str, message: str = "", partial_output: bytes = b"") -> CoreError:
    error = CoreError(message)
    error.kind, error.message, error.partial_output = kind, message or kind, partial_output
    return error


def wait(stop: threading.Event, seconds: float) -> None:
    """Takes that long, or ends as cancelled operations do."""
    if stop.wait(seconds):
        raise core_error("cancelled", "the caller asked to stop")


class Operation:
    """A thread that ends by making its descriptor readable."""

    open = 0
    """How many descriptors are open now."""

    def __init__(self, work: Work) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        Operation.open += 1
        self._done = False
        self._error: BaseException | None = None
        self._result: Any = None
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Work) -> None:
        try:
            self._result = work(self._stop)
        except CoreError as ex:
            self._error = ex
        with self._lock:
            self._done = True
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        return self._fd

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        if not self._done:
            raise core_error("internal", "result() was asked for before the operation's end")
        if self._error:
            raise self._error
        return self._result

    def cancel(self) -> None:
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        return self._stop.is_set()

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                Operation.open -= 1
                self._fd = -1


@dataclass
class Exec:
    """A command as the core got it."""

    argv: list[bytes]
    input: bytes | None
    cwd: str | None
    env: dict[str, str]
    user: str | None
    timeout: float | None
    output_limit: int


class Vm:
    def __init__(self, core: Core, name: str, vmid: int, windows: bool = False) -> None:
        self.name, self.vmid, self.node, self.host = name, vmid, "pve", "pve.test"
        self.windows = windows
        self.addresses: dict[str, list[str]] = {}
        self.core = core
        self.files: dict[str, bytes] = {}
        self.limits: list[int] = []
        self.calls: list[Exec] = []

    def console(self) -> str:
        return f"https://pve.test:8006/?console=kvm&vmid={self.vmid}"

    def timings(self) -> dict[str, float]:
        return {"clone": 1.0, "configure": 0.0, "start": 0.5, "agent": 4.0, "commands": 0.0}

    def exec(
        self,
        argv: list[bytes],
        input: bytes | None,
        cwd: str | None,
        env: dict[str, str],
        user: str | None,
        timeout: float | None,
        output_limit: int,
    ) -> Operation:
        call = Exec(argv, input, cwd, env, user, timeout, output_limit)
        self.calls.append(call)
        return Operation(lambda stop: self.core.on_exec(call, stop))

    def read_file(self, path: str, limit: int) -> Operation:
        self.limits.append(limit)

        def work(stop: threading.Event) -> bytes:
            if path not in self.files:
                raise core_error("file_not_found", path)
            if len(self.files[path]) > limit:
                raise core_error("output_limit", path)
            return self.files[path]

        return Operation(work)

    def write_file(self, path: str, contents: bytes) -> Operation:
        def work(stop: threading.Event) -> None:
            self.files[path] = contents

        return Operation(work)

    def _noted(self, *what: str) -> Operation:
        return Operation(lambda stop: self.core.did.append((*what, str(self.vmid))))

    def create_snapshot(self, name: str, description: str) -> Operation:
        return self._noted("create", name, description)

    def restore_snapshot(self, name: str) -> Operation:
        return self._noted("restore", name)

    def delete_snapshot(self, name: str) -> Operation:
        return self._noted("delete", name)

    def list_snapshots(self) -> Operation:
        return Operation(lambda stop: json.dumps([{"name": "before"}]))


@dataclass
class Sandbox:
    core: Core
    vms: list[Vm]

    def destroy(self) -> Operation:
        def work(stop: threading.Event) -> None:
            wait(stop, self.core.destroy_seconds)
            if self in self.core.sandboxes:
                self.core.sandboxes.remove(self)

        return Operation(work)


@dataclass
class Core:
    """Says yes to all, until a test sets one of its `on_...`."""

    log: Callable[[int, str], None] = lambda level, text: None
    on_exec: Callable[[Exec, threading.Event], tuple[int, bytes, bytes]] = lambda call, stop: (
        0,
        b"",
        b"",
    )
    on_prepare: Work = lambda stop: None
    on_take_place: Work = lambda stop: object()
    most: int | None = None
    on_bring_up: Work = lambda stop: None
    """Runs before the VMs are there."""
    on_cleanup: Callable[[str | None], list[str]] = lambda id: []
    destroy_seconds: float = 0
    windows: bool = False
    specs: list[dict[str, Any]] = field(default_factory=list)
    sandboxes: list[Sandbox] = field(default_factory=list)
    did: list[tuple[str, ...]] = field(default_factory=list)

    def prepare(self, spec: str) -> Operation:
        self.specs.append(json.loads(spec))
        return Operation(self.on_prepare)

    def take_place(self, spec: str, task: str, sample: str) -> Operation:
        self.did.append(("take_place", task, sample))
        return Operation(self.on_take_place)

    def capacity(self) -> Operation:
        return Operation(lambda stop: self.most)

    def use(self, pool: str) -> tuple[int, int]:
        return len(self.sandboxes), self.most or 0

    def bring_up(self, spec: str, task: str, sample: str, place: object) -> Operation:
        self.did.append(("bring_up", task, sample))

        def work(stop: threading.Event) -> Sandbox:
            self.on_bring_up(stop)
            wanted = [vm for vm in json.loads(spec)["vms_config"] if vm["is_sandbox"]]
            vms = [
                Vm(self, vm["name"] or "default", 101 + i, self.windows)
                for i, vm in enumerate(wanted)
            ]
            self.sandboxes.append(Sandbox(self, vms))
            return self.sandboxes[-1]

        return Operation(work)

    def sweep(self, cleanup: bool) -> Operation:
        def work(stop: threading.Event) -> list[str]:
            lines = [f"VM {vm.vmid} on pve" for sandbox in self.sandboxes for vm in sandbox.vms]
            if cleanup:
                self.sandboxes.clear()
            return lines

        return Operation(work)

    def cleanup(self, id: str | None) -> Operation:
        return Operation(lambda stop: self.on_cleanup(id))

    def close(self) -> None:
        pass
