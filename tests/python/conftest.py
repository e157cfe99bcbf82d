"""The adapter over a core that needs no server."""

from __future__ import annotations

import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from . import fake_core

try:
    import proxmoxsandbox._core  # noqa: F401
except ImportError:
    module = types.ModuleType("proxmoxsandbox._core")
    for name in ("Core", "CoreError", "Operation", "Sandbox", "Vm"):
        setattr(module, name, getattr(fake_core, name))
    sys.modules["proxmoxsandbox._core"] = module

from inspect_ai.util._concurrency import init_concurrency

from proxmoxsandbox import _operations
from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

Run = Callable[..., Any]

SOURCE = VmSourceConfig(built_in="debian13-small")
CONFIG = ProxmoxSandboxEnvironmentConfig(
    sdn_config=None, vms_config=(VmConfig(vm_source_config=SOURCE, nics=()),)
)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_core.Core]:
    made = fake_core.Core()
    monkeypatch.setattr(_operations, "_core", made)
    before = fake_core.Operation.open
    yield made
    assert fake_core.Operation.open == before, "a descriptor was left open"


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function on each of the two event loops."""

    def call(work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        async def main() -> Any:
            init_concurrency()  # Inspect's limiters belong to one event loop
            return await work(*arguments)

        return anyio.run(main, backend=request.param)

    return call


@pytest.fixture
def vm(core: fake_core.Core) -> fake_core.Vm:
    return fake_core.Vm(core, "default", 101)


@pytest.fixture
def environment(core: fake_core.Core, vm: fake_core.Vm) -> ProxmoxSandboxEnvironment:
    sandbox: Any = fake_core.Sandbox(core, [vm])
    stand_in: Any = vm
    return ProxmoxSandboxEnvironment(stand_in, sandbox)
