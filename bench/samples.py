"""A process that has many samples through the provider at once, and says what it cost.

    samples.py COUNT      with PROXMOX_CONFIG_FILE as the provider reads it

All are brought up, then each runs one command, then all are removed. Prints JSON: for each of the
three the seconds, the process's CPU seconds and the requests that the servers counted, and the most
bytes that all of them added to the process.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import anyio

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

CONFIG = ProxmoxSandboxEnvironmentConfig(
    sdn_config=None,
    vms_config=(
        VmConfig(
            vm_source_config=VmSourceConfig(built_in="debian13-small"),
            ram_mb=768,
            vcpus=1,
            nics=(),
        ),
    ),
)


def memory(name: str) -> int:
    """Bytes of this process: VmRSS, or VmHWM, the most since `forget_peak`. (proc(5))"""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def requests() -> int:
    """That all servers have been sent until now."""
    instances = json.loads(Path(os.environ["PROXMOX_CONFIG_FILE"]).read_text())["instances"]
    context = ssl._create_unverified_context()
    total = 0
    for instance in instances:
        url = f"https://{instance['host']}:{instance['port']}/_control/requests"
        with urllib.request.urlopen(url, context=context) as answer:
            counted = json.load(answer)["data"]["requests"]
        total += sum(count for route, count in counted.items() if "_control" not in route)
    return total


async def side_by_side(calls: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(call)


async def measured(calls: Iterable[Callable[[], Awaitable[Any]]]) -> dict[str, float]:
    asked, cpu, began = requests(), time.process_time(), time.monotonic()
    await side_by_side(calls)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "requests": requests() - asked}


async def measure(count: int) -> dict[str, Any]:
    samples: list[ProxmoxSandboxEnvironment] = []

    async def bring_up() -> None:
        made = await ProxmoxSandboxEnvironment.sample_init("scale", CONFIG, {})
        samples.append(made["default"].as_type(ProxmoxSandboxEnvironment))

    async def run(vm: ProxmoxSandboxEnvironment) -> None:
        done = await vm.exec(["true"])
        assert done.success, done.stderr

    async def remove(vm: ProxmoxSandboxEnvironment) -> None:
        await ProxmoxSandboxEnvironment.sample_cleanup("scale", CONFIG, {"default": vm}, False)

    await ProxmoxSandboxEnvironment.task_init("scale", CONFIG)
    forget_peak()
    before = memory("VmRSS")
    out: dict[str, Any] = {
        "start": await measured([bring_up] * count),
        "command": await measured([lambda vm=vm: run(vm) for vm in samples]),
        "remove": await measured([lambda vm=vm: remove(vm) for vm in samples]),
        "bytes": memory("VmHWM") - before,
    }
    await ProxmoxSandboxEnvironment.task_cleanup("scale", CONFIG, True)
    return out


if __name__ == "__main__":
    print(json.dumps(anyio.run(measure, int(sys.argv[1]))))
