"""Times what users wait for on a local node, beside what the same costs with bare requests.

    bench.py DIRECTORY      of the node's state

Prints a table. The ratio is what the provider adds; a bare command is two requests, the launch of
/bin/true and the question for its end.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.eval.conftest import Node

MIB = 1 << 20
CONFIG = ProxmoxSandboxEnvironmentConfig(
    sdn_config=None,
    vms_config=(
        VmConfig(
            vm_source_config=VmSourceConfig(built_in="debian13-small"),
            ram_mb=768,
            nics=(),
            user="user",
        ),
    ),
)


def bare_command(node: Node, vmid: int) -> None:
    """/bin/true by two requests of a client that does nothing else."""
    path = f"/api2/json/nodes/{node.variables['PROXMOX_NODE']}/qemu/{vmid}/agent"
    pid = node.ask(f"{path}/exec", {"command": ["/bin/true"]})["pid"]
    while not node.ask(f"{path}/exec-status?pid={pid}")["exited"]:
        pass


async def timed(call: Callable[[], Awaitable[Any]], times: int = 1) -> float:
    """The median of several calls, in seconds."""
    took = []
    for _ in range(times):
        started = time.monotonic()
        await call()
        took.append(time.monotonic() - started)
    return statistics.median(took)


def line(name: str, seconds: float, requests: int | None = None, note: str = "") -> None:
    count = "" if requests is None else f"{requests:6}"
    print(f"{name:42}{seconds:9.3f} s {count:>8}  {note}", flush=True)


async def measure(node: Node) -> None:
    async def counted(name: str, call: Callable[[], Awaitable[Any]], times: int = 1) -> float:
        node.reset_counters()
        seconds = await timed(call, times)
        total = sum(count for route, count in node.requests().items() if "_control" not in route)
        line(name, seconds, total // times)
        return seconds

    await ProxmoxSandboxEnvironment.task_init("bench", CONFIG)
    environments: dict[str, Any] = {}

    async def bring_up() -> None:
        environments.update(await ProxmoxSandboxEnvironment.sample_init("bench", CONFIG, {}))

    print(f"{'':42}{'median':>11} {'requests':>8}")
    await counted("a sample of one VM, boot included", bring_up)
    vm: ProxmoxSandboxEnvironment = environments["default"]
    line("  of that the guest's boot", vm.timings["agent"])
    try:
        await vm.exec(["true"])
        command = await counted("exec true", lambda: vm.exec(["true"]), 10)
        bare = await timed(lambda: anyio.to_thread.run_sync(bare_command, node, vm.vm_id), 10)
        line(
            "bare /bin/true, two requests",
            bare,
            note=f"exec true is {command / bare:.2f} times that",
        )
        for size, name in (
            (1024, "1 KiB"),
            (100 * 1024, "100 KiB"),
            (MIB, "1 MiB"),
            (50 * MIB, "50 MiB"),
        ):
            data = os.urandom(size)
            await counted(f"write {name}", lambda data=data: vm.write_file("file", data))  # type: ignore[misc]
            await counted(f"read {name}", lambda: vm.read_file("file", text=False))
        await counted("snapshot with memory", lambda: vm.create_snapshot("bench"))
        await counted("restore it", lambda: vm.restore_snapshot("bench"))
    finally:
        await counted(
            "clean-up",
            lambda: ProxmoxSandboxEnvironment.sample_cleanup("bench", CONFIG, environments, False),
        )


def main() -> int:
    node = Node(Path(sys.argv[1]).resolve())
    node.start()
    os.environ.update(node.variables)
    try:
        anyio.run(measure, node)
    finally:
        node.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
