"""Inspect's own checks of a sandbox provider, in real VMs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from inspect_ai.util import ExecResult
from inspect_ai.util._concurrency import init_concurrency
from inspect_ai.util._sandbox import self_check

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment

Check = Callable[[Any], Awaitable[None]]
CHECKS: dict[str, Check] = {
    name: getattr(self_check, name) for name in sorted(dir(self_check)) if name.startswith("test_")
}

# Root may read and write everything, so these ask for what root can't be denied.
NOT_FOR_ROOT = {
    "test_read_file_not_allowed",
    "test_write_text_file_without_permissions",
    "test_write_binary_file_without_permissions",
}


class Patient:
    """The same sandbox, in which `adduser` has a minute. Its check gives it 10 s, lest it asks for
    input and waits forever; on a busy machine without KVM it takes up to 20 s."""

    def __init__(self, vm: ProxmoxSandboxEnvironment) -> None:
        self._vm = vm

    async def exec(self, cmd: list[str], **more: Any) -> ExecResult[str]:
        if cmd[0] == "adduser":
            more["timeout"] = 60
        return await self._vm.exec(cmd, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vm, name)


def run_check(check: Check, vm: ProxmoxSandboxEnvironment, backend: str) -> None:
    async def work() -> None:
        init_concurrency()  # its limiters belong to one event loop
        await check(Patient(vm))

    anyio.run(work, backend=backend)


def test_all_44_checks_are_there() -> None:
    assert len(CHECKS) >= 44


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", CHECKS)
def test_with_an_ordinary_default_user(
    name: str, backend: str, user_vm: ProxmoxSandboxEnvironment
) -> None:
    run_check(CHECKS[name], user_vm, backend)


@pytest.mark.parametrize("name", CHECKS)
def test_with_root(name: str, root_vm: ProxmoxSandboxEnvironment) -> None:
    call = partial(run_check, CHECKS[name], root_vm, "asyncio")
    if name not in NOT_FOR_ROOT:
        call()
        return
    with pytest.raises(BaseException):  # noqa: B017  # pytest's own failure is no Exception
        call()
