"""What kills a real guest is told from a failed command, within 10 s."""

from __future__ import annotations

import time

import anyio
import pytest
from inspect_ai.util import SandboxUnavailableError

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import (
    ProxmoxSandboxEnvironmentConfig,
    VmConfig,
    VmSourceConfig,
)

from .conftest import Node, bring_up, take_down

# What a guest does to itself a second later, and what is said of it then.
DEATHS = {
    "agent": (
        "while sleep .2; do echo stuck >/dev/ttyS0; done & kill -STOP $(pidof qemu-ga)",
        "\n  console: stuck",
    ),
    # Its last words were said before somebody listened.
    "panicked": (
        "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger",
        "does not answer, though the VM runs",
    ),
    "full": ("cat /dev/zero >/run/hog", "its /run is full"),
    "stopped": ("poweroff -f", "is stopped"),
}


def config() -> ProxmoxSandboxEnvironmentConfig:
    vms = tuple(
        VmConfig(
            name=name,
            vm_source_config=VmSourceConfig(built_in="debian13-small"),
            ram_mb=256,
            vcpus=1,
            nics=(),
        )
        for name in DEATHS
    )
    return ProxmoxSandboxEnvironmentConfig(sdn_config=None, vms_config=vms)


def test_a_dead_vm_is_told_from_a_failed_command(node: Node) -> None:
    spec = config()
    environments = bring_up(spec)
    said: dict[str, str] = {}
    plain: dict[str, float] = {}
    took: dict[str, float] = {}

    async def die(name: str, vm: ProxmoxSandboxEnvironment) -> None:
        begun = time.monotonic()
        assert (await vm.exec(["sh", "-c", "sleep 1; exit 7"])).returncode == 7
        started = time.monotonic()
        plain[name] = started - begun
        with pytest.raises(SandboxUnavailableError) as told:
            rest = "; exit 1" if name == "full" else "; sleep 600"
            await vm.exec(["sh", "-c", f"sleep 1; {DEATHS[name][0]}{rest}"])
        took[name] = time.monotonic() - started
        said[name] = str(told.value)

    async def work() -> None:
        async with anyio.create_task_group() as group:
            for name, vm in environments.items():
                group.start_soon(die, name, vm)

    try:
        anyio.run(work)
    finally:
        take_down(spec, environments)
    assert {name: words for name, (_, words) in DEATHS.items() if words not in said[name]} == {}, (
        said
    )
    assert all(f"({name})" in said[name] for name in DEATHS if name != "full"), said
    # What a command that fails takes, on a machine that may have more to do; filling a memory takes
    # as long as it takes.
    late = {name for name in DEATHS if name != "full" and took[name] > 10 + 3 * plain[name]}
    assert not late, (took, plain)
