"""Times what users wait for on a local node, each beside the same work done by bare requests.

    bench.py DIRECTORY      of the node's state

Prints a table. A ratio is what the provider adds to the same requests, sent one after the other on
one connection by a client that checks nothing and remembers nothing.
"""

from __future__ import annotations

import base64
import os
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bare import Bare
from tests.eval.conftest import Node

MIB = 1 << 20
BOOTS = 3
COMMANDS = 20
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
# What guest/linux/program.cpp makes of ["true"], as `printf %b` takes it.
TRUE_PROGRAM = (
    "umask 022\\0012command -v 'true' >/dev/null 2>&1\\0012exec 'true' <&8 8<&- 7>&-\\0012"
)


async def launch_words(vm: ProxmoxSandboxEnvironment) -> list[str]:
    """The argument list that a command of ours is launched with, as the guest sees it."""
    shown = await vm.exec(["sh", "-c", "base64 -w0 /proc/$PPID/cmdline"], user="root")
    return base64.b64decode(shown.stdout).decode().split("\0")[:-1]


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


async def bring_up(count: int = 1) -> list[dict[str, Any]]:
    """Samples side by side."""
    samples: list[dict[str, Any]] = []

    async def one() -> None:
        samples.append(dict(await ProxmoxSandboxEnvironment.sample_init("bench", CONFIG, {})))

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return samples


async def clean_up(environments: dict[str, Any]) -> None:
    await ProxmoxSandboxEnvironment.sample_cleanup("bench", CONFIG, environments, False)


def start_by_bare(bare: Bare, node: Node, template: int) -> int:
    vmid = int(node.ask("/api2/json/cluster/nextid"))
    bare.start(template, vmid)
    bare.wait_for_agent(vmid)
    return vmid


async def measure_starts(bare: Bare, node: Node, template: int) -> None:
    """Turn and turn about, so that a busy moment hits both."""
    ours, boots, theirs = [], [], []
    for _ in range(BOOTS):
        started = time.monotonic()
        (sample,) = await bring_up()
        ours.append(time.monotonic() - started)
        boots.append(sample["default"].timings["agent"])
        await clean_up(sample)
        started = time.monotonic()
        vmid = await run_sync(start_by_bare, bare, node, template)
        theirs.append(time.monotonic() - started)
        await run_sync(bare.destroy, vmid)
    one, base = statistics.median(ours), statistics.median(theirs)
    line("a sample of one VM, boot included", one)
    line("  of that the guest's boot", statistics.median(boots))
    line("  bare clone, configure, start, ping", base, note=f"the provider: {one / base:.2f} times")
    started = time.monotonic()
    samples = await bring_up(3)
    three = time.monotonic() - started
    note = f"{three / one:.2f} times one, on {os.cpu_count()} CPUs"
    line("three samples at once", three, note=note)
    for sample in samples:
        await clean_up(sample)


async def measure_commands(bare: Bare, vm: ProxmoxSandboxEnvironment) -> None:
    """The same script in the same guest, turn and turn about."""
    words = await launch_words(vm)
    at = words.index("sh", 2) + 2  # /bin/sh -c SCRIPT sh DIR ID ...
    await vm.exec(["true"])
    ours, theirs, old = [], [], words[at]
    for _ in range(COMMANDS):
        ours.append(await timed(lambda: vm.exec(["true"])))
        new = uuid.uuid4().hex[: len(old)]
        command = [*words[:at], new, *words[at + 1 : at + 7], old]
        started = time.monotonic()
        await run_sync(bare.run, vm.vm_id, command, TRUE_PROGRAM + "\n")
        theirs.append(time.monotonic() - started)
        old = new
    mine, base = statistics.median(ours), statistics.median(theirs)
    line("exec true", mine)
    line("  its two bare requests", base, note=f"the provider: {mine / base:.2f} times")


async def measure(node: Node) -> None:
    async def counted(name: str, call: Callable[[], Awaitable[Any]], times: int = 1) -> None:
        node.reset_counters()
        seconds = await timed(call, times)
        total = sum(count for route, count in node.requests().items() if "_control" not in route)
        line(name, seconds, total // times)

    await ProxmoxSandboxEnvironment.task_init("bench", CONFIG)
    listed = node.ask(f"/api2/json/nodes/{node.variables['PROXMOX_NODE']}/qemu")
    template = next(vm["vmid"] for vm in listed if vm.get("template"))
    bare = Bare(node.variables)
    print(f"{'':42}{'median':>11} {'requests':>8}")
    await measure_starts(bare, node, template)

    (environments,) = await bring_up()
    vm: ProxmoxSandboxEnvironment = environments["default"]
    try:
        await measure_commands(bare, vm)
        await counted("exec true, requests", lambda: vm.exec(["true"]), COMMANDS)
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
        await counted("clean-up", lambda: clean_up(environments))


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
