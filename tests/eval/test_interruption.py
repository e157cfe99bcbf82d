"""What happens when something ends in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from inspect_ai.util import SandboxUnavailableError

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment

from .conftest import Node, bring_up, config_of, take_down

EVALUATION = """
import signal, sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import solver
from inspect_ai.util import SandboxEnvironmentSpec, sandbox
from tests.eval.conftest import config_of

@solver
def long_command():
    async def solve(state, generate):
        open(sys.argv[1], "w").close()
        await sandbox().exec(["sleep", "600"])
        return state
    return solve

# The tests may run in the background of a script, whose shell has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
task = Task(dataset=[Sample(input="x")], solver=long_command(),
            sandbox=SandboxEnvironmentSpec("proxmox", config_of("user")))
eval(task, model="mockllm/model", display="none", log_dir=sys.argv[2])
"""


def start_evaluation(folder: Path) -> subprocess.Popen[bytes]:
    """An evaluation in a process of its own, in the middle of a long command."""
    mark = folder / "running"
    words = [sys.executable, "-c", EVALUATION, str(mark), str(folder / "logs")]
    process = subprocess.Popen(words, cwd=Path(__file__).parent.parent.parent)
    limit = time.monotonic() + 120
    while not mark.exists():
        assert process.poll() is None, "the evaluation ended early"
        assert time.monotonic() < limit
        time.sleep(0.1)
    time.sleep(1)
    return process


def clean_up(*words: str) -> str:
    command = [sys.executable, "-m", "inspect_ai", "sandbox", "cleanup", "proxmox", *words]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=120
    ).stdout


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_evaluation_leaves_nothing(times: int, node: Node, tmp_path: Path) -> None:
    before = {vm["vmid"] for vm in node.vms()}
    media = node.media()
    process = start_evaluation(tmp_path)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.wait(90)
    assert {vm["vmid"] for vm in node.vms()} <= before
    assert node.media() == media


def test_a_killed_evaluation_is_cleaned_up_by_its_run_and_nothing_else_is(
    node: Node, tmp_path: Path
) -> None:
    config = config_of("user")
    others = bring_up(config)
    other = next(iter(others.values()))
    try:
        process = start_evaluation(tmp_path)
        process.kill()
        process.wait()
        left = [vm for vm in node.vms() if vm["vmid"] != other.vm_id]
        runs = {
            tag for vm in left for tag in vm["tags"].split(";") if tag.startswith("inspect-run-")
        }
        mine = {
            tag for vm in node.vms() if vm["vmid"] == other.vm_id for tag in vm["tags"].split(";")
        }
        (run,) = runs - mine
        assert "removed VM" in clean_up(run.removeprefix("inspect-run-"))
        assert other.vm_id in {vm["vmid"] for vm in node.vms()}
        assert all(run not in vm["tags"] for vm in node.vms())
        assert anyio.run(other.exec, ["echo", "alive"]).stdout == "alive\n"
    finally:
        take_down(config, others)


def test_a_vm_that_dies_makes_its_command_unavailable_in_seconds(node: Node) -> None:
    config = config_of("user")
    environments = bring_up(config)
    vm: ProxmoxSandboxEnvironment = next(iter(environments.values()))

    async def work() -> float:
        async with anyio.create_task_group() as group:

            async def kill() -> None:
                await anyio.sleep(1)
                os.kill(node.qemu_of(vm.vm_id), signal.SIGKILL)

            group.start_soon(kill)
            started = time.monotonic()
            with pytest.raises(SandboxUnavailableError):
                await vm.exec(["sleep", "600"])
            return time.monotonic() - started

    try:
        assert anyio.run(work) < 20
    finally:
        take_down(config, environments)
    assert vm.vm_id not in {item["vmid"] for item in node.vms()}


def test_a_node_that_was_killed_goes_on_with_its_vms(node: Node) -> None:
    config = config_of("user")
    environments = bring_up(config)
    vm = next(iter(environments.values()))
    port = int(node.variables["PROXMOX_PORT"])
    try:
        os.kill(node.pid(), signal.SIGKILL)
        time.sleep(1)
        node.start(port)
        assert anyio.run(vm.exec, ["echo", "still here"]).stdout == "still here\n"
    finally:
        take_down(config, environments)
