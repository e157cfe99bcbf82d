"""What kills a real guest is told from a failed command, within 10 s; what starves it is not."""

from __future__ import annotations

import contextlib
import os
import signal
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
    pressure = dict.fromkeys(DEATHS, 0.0)

    def look(name: str) -> None:
        status = node.status(environments[name].vm_id)
        pressure[name] = max(pressure[name], status.get("pressurecpusome", 0))

    async def watch(name: str) -> None:
        while True:
            await anyio.to_thread.run_sync(look, name)
            await anyio.sleep(1)

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
        async with anyio.create_task_group() as watching:
            async with anyio.create_task_group() as group:
                for name, vm in environments.items():
                    watching.start_soon(watch, name)
                    group.start_soon(die, name, vm)
            watching.cancel_scope.cancel()

    try:
        anyio.run(work)
    finally:
        take_down(spec, environments)
    assert {name: words for name, (_, words) in DEATHS.items() if words not in said[name]} == {}, (
        said
    )
    assert all(f"({name})" in said[name] for name in DEATHS if name != "full"), said
    # What a command that fails takes, on a machine that may have more to do; filling a memory takes
    # as long as it takes. A starved guest is given more time.
    limit = {name: (40 if pressure[name] >= 50 else 10) + 3 * plain[name] for name in DEATHS}
    late = {name for name in DEATHS if name != "full" and took[name] > limit[name]}
    assert not late, (took, plain, pressure, said)


# 256 of them at once.
COMPUTE = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
for _ in range(8):
    os.fork()
while True:
    pass
"""


@contextlib.contextmanager
def starved(process: int) -> Iterator[None]:
    """A process that shares one processor with many that compute."""
    processor = min(os.sched_getaffinity(0))
    words = [sys.executable, "-c", COMPUTE, str(processor)]
    many = subprocess.Popen(words, start_new_session=True)
    threads = [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]
    before = os.sched_getaffinity(process)
    for thread in threads:
        os.sched_setaffinity(thread, {processor})
    try:
        yield
    finally:
        os.killpg(many.pid, signal.SIGKILL)
        many.wait()
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, before)


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
