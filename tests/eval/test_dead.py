"""What kills a real guest is told from a failed command, within 10 s; what starves it is not."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from inspect_ai.util import SandboxUnavailableError

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import (
    ProxmoxSandboxEnvironmentConfig,
    VmConfig,
    VmSourceConfig,
)

from .conftest import Node, bring_up, config_of, take_down

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
    late = {
        name
        for name in DEATHS
        if name != "full" and took[name] > longest(said[name]) + 3 * plain[name]
    }
    assert not late, (took, plain, said)


def longest(said: str) -> float:
    """Seconds until a guest that is silent counts as dead."""
    return 40 if "too few processors" in said else 10


@contextlib.contextmanager
def starved(process: int) -> Iterator[None]:
    """A process that gets what another leaves of one processor, which is next to nothing."""
    processor = min(os.sched_getaffinity(0))
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(hog.pid, {processor})
    threads = [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]
    for thread in threads:
        os.sched_setaffinity(thread, {processor})
        os.setpriority(os.PRIO_PROCESS, thread, 19)
    try:
        yield
    finally:
        hog.kill()
        hog.wait()


def test_a_starved_guest_is_not_taken_for_dead(node: Node) -> None:
    config = config_of()
    environments = bring_up(config)
    vm: ProxmoxSandboxEnvironment = next(iter(environments.values()))

    async def work() -> None:
        said = []

        async def ask() -> None:
            for number in range(3):
                said.append((await vm.exec(["sh", "-c", f"echo {number}"])).stdout)

        async with anyio.create_task_group() as group:
            with starved(node.qemu_of(vm.vm_id)):
                group.start_soon(ask)
                await anyio.sleep(15)
        assert said == ["0\n", "1\n", "2\n"]

    try:
        anyio.run(work)
    finally:
        take_down(config, environments)
