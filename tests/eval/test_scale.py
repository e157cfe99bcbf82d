"""What many VMs cost the provider itself. The VMs are simulated: the node computes their answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Node

VMS = 1000
PROGRAM = f"""
import anyio, re
from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment as Environment
from tests.eval.conftest import config_of

def resident() -> int:
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

async def work() -> None:
    config = config_of()
    await Environment.task_init("scale", config)
    samples = []

    async def bring_up() -> None:
        samples.append(await Environment.sample_init("scale", config, {{}}))

    async def some(count: int) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(bring_up)

    await some(50)  # warm: connections, caches, the allocator's first pages
    before = resident()
    for _ in range({VMS} // 50):
        await some(50)
    print((resident() - before) // {VMS}, flush=True)
    await Environment.task_cleanup("scale", config, True)

anyio.run(work)
"""


@pytest.fixture
def simulated_node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    made.start(simulated=True)
    yield made
    made.stop()


def test_a_live_vm_costs_less_than_a_mebibyte(simulated_node: Node) -> None:
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=simulated_node.environment(),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 1 << 20
    assert simulated_node.vms() == []
