"""Samples in a row on a local node, two at a time, with a random kill each minute: what grows?

    endurance.py DIRECTORY [MINUTES]      of the node's state; 30 minutes

Each minute one thing is killed: a VM's QEMU, a guest's agent, or with SIGKILL a second evaluation,
whose VM the next evaluation that starts finds and removes. Every five minutes the samples pause, and
what is left is counted: memory and open files of the provider and of the node, processes, bytes on
the disk, and things on the server. Ends with 1 when a sample went wrong that nothing was killed of,
or when something is left at the end.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync
from inspect_ai.util import SandboxUnavailableError

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.eval.conftest import Node

MIB = 1 << 20
AT_ONCE = 2
ROUND = 300.0  # seconds between two counts
KILL_EVERY = 60.0
CONFIG = ProxmoxSandboxEnvironmentConfig(
    vms_config=(
        VmConfig(vm_source_config=VmSourceConfig(built_in="debian13-small"), ram_mb=512, vcpus=1),
    ),
)


@dataclass
class Tally:
    samples: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    running: dict[int, ProxmoxSandboxEnvironment] = field(default_factory=dict)
    hit: set[int] = field(default_factory=set)  # VMs that something was killed of
    failures: list[str] = field(default_factory=list)


async def use(vm: ProxmoxSandboxEnvironment, seconds: float) -> None:
    """Commands and files, each checked, for a while."""
    data = os.urandom(MIB)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done = await vm.exec(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n"), done
        await vm.write_file("/tmp/data", data)
        assert await vm.read_file("/tmp/data", text=False) == data
        await anyio.sleep(1)


async def one_sample(tally: Tally, number: int) -> None:
    vm: ProxmoxSandboxEnvironment | None = None
    environments: dict[str, Any] = {}
    try:
        environments = dict(await ProxmoxSandboxEnvironment.sample_init("endurance", CONFIG, {}))
        vm = environments["default"].as_type(ProxmoxSandboxEnvironment)
        tally.running[vm.vm_id] = vm
        await use(vm, random.uniform(5, 25))
        tally.samples["well"] += 1
    except SandboxUnavailableError as error:
        tally.samples["told of a death"] += 1
        if vm is None or vm.vm_id not in tally.hit:
            tally.failures.append(f"sample {number} was unavailable by itself: {error}")
    except Exception as error:
        tally.samples["wrong"] += 1
        tally.failures.append(f"sample {number}: {type(error).__name__}: {error}")
    finally:
        if vm is not None:
            tally.running.pop(vm.vm_id)
            tally.hit.discard(vm.vm_id)
        await ProxmoxSandboxEnvironment.sample_cleanup("endurance", CONFIG, environments, False)


async def samples_until(end: float, tally: Tally) -> None:
    async def lane(first: int) -> None:
        number = first
        while time.monotonic() < end:
            await one_sample(tally, number)
            number += AT_ONCE

    async with anyio.create_task_group() as group:
        for first in range(AT_ONCE):
            group.start_soon(lane, first)


class Bystander:
    """A second evaluation, in a process of its own, which has one VM at a time."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, __file__, "--bystander"])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


async def stand_by() -> None:
    """What the bystander does until it is told to end."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:

            async def samples() -> None:
                await ProxmoxSandboxEnvironment.task_init("bystander", CONFIG)
                tally = Tally()
                for number in range(1 << 30):
                    await one_sample(tally, number)

            group.start_soon(samples)
            async for _ in signals:
                break
            group.cancel_scope.cancel()
    await ProxmoxSandboxEnvironment.task_cleanup("bystander", CONFIG, True)


async def kill_one(node: Node, tally: Tally, bystander: Bystander) -> None:
    kind = random.choice(["QEMU", "agent", "evaluation"])
    if kind == "evaluation" or not tally.running:
        tally.kills["evaluation"] += 1
        await run_sync(bystander.kill)
        bystander.start()
        return
    vmid, vm = random.choice(list(tally.running.items()))
    tally.hit.add(vmid)
    tally.kills[kind] += 1
    if kind == "QEMU":
        os.kill(await run_sync(node.qemu_of, vmid), signal.SIGKILL)
        return
    with contextlib.suppress(SandboxUnavailableError, TimeoutError):
        await vm.exec(["sh", "-c", "kill -9 $(pidof qemu-ga)"], user="root", timeout=20)


async def kill_now_and_then(node: Node, tally: Tally, bystander: Bystander) -> None:
    while True:
        await anyio.sleep(KILL_EVERY)
        await kill_one(node, tally, bystander)


def memory_of(pid: int | str) -> float:
    """MiB. (proc(5), VmRSS)"""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def open_files(pid: int | str) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def processes_of(directory: Path) -> int:
    """That have the node's directory in their command line: QEMU, its helpers, the node."""
    found = 0
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += str(directory).encode() in file.read_bytes()
        except OSError:
            continue  # it ended meanwhile
    return found


def bytes_on_disk(directory: Path) -> float:
    """MiB that its files take."""
    sizes = (file.lstat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())
    return sum(sizes) / MIB


def things_left(node: Node) -> list[str]:
    zones = node.ask("/api2/json/cluster/sdn/zones?pending=1")
    return [
        *(f"VM {vm['vmid']}" for vm in node.vms()),
        *node.media(),
        *(f"zone {zone['zone']}" for zone in zones),
        *(f"pool {pool['poolid']}" for pool in node.ask("/api2/json/pools")),
    ]


def count(node: Node, directory: Path, tally: Tally, minutes: float) -> None:
    gc.collect()
    numbers = (
        f"{minutes:7.1f} {sum(tally.samples.values()):8} {sum(tally.kills.values()):6}"
        f" {memory_of('self'):13.1f} {open_files('self'):6} {memory_of(node.pid()):9.1f}"
        f" {open_files(node.pid()):6} {processes_of(directory):10}"
        f" {bytes_on_disk(directory):9.1f}"
    )
    print(numbers, flush=True)


async def endure(node: Node, directory: Path, minutes: float) -> Tally:
    tally, bystander = Tally(), Bystander()
    started = time.monotonic()
    await ProxmoxSandboxEnvironment.task_init("endurance", CONFIG)
    print("minutes  samples  kills  provider MiB  files  node MiB  files  processes  disk MiB")
    while time.monotonic() < started + minutes * 60:
        await run_sync(bystander.start)
        end = min(time.monotonic() + ROUND, started + minutes * 60)
        async with anyio.create_task_group() as group:
            group.start_soon(kill_now_and_then, node, tally, bystander)
            await samples_until(end, tally)
            group.cancel_scope.cancel()
        await run_sync(bystander.end)
        count(node, directory, tally, (time.monotonic() - started) / 60)
    await ProxmoxSandboxEnvironment.task_cleanup("endurance", CONFIG, True)
    return tally


def main() -> int:
    directory = Path(sys.argv[1]).resolve()
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    node = Node(directory / "node")
    node.start()
    os.environ.update({**node.variables, "XDG_STATE_HOME": str(directory / "state")})
    try:
        tally = anyio.run(endure, node, directory, minutes)
        left = things_left(node)
    finally:
        node.stop()
    print("samples:", dict(tally.samples), "kills:", dict(tally.kills))
    print("left on the server:", ", ".join(left) or "nothing")
    for failure in tally.failures:
        print(failure)
    return 1 if tally.failures or left else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--bystander"]:
        anyio.run(stand_by)
    else:
        sys.exit(main())
