"""Whole evaluations on simulated machines: whatever their course, the server is empty afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import CommandLine

PROGRAM = """
import json, sys
import anyio
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import solver
from inspect_ai.util import SandboxEnvironmentSpec, sandbox
from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment as Provider
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

def config_of(tag="box", **more):
    vm = VmConfig(vm_source_config=VmSourceConfig(existing_vm_template_tag=tag))
    return ProxmoxSandboxEnvironmentConfig(vms_config=(vm,), **more)

seen = []  # the VM of each attempt

@solver
def use(action=lambda attempt, sample: None):
    async def solve(state, generate):
        seen.append(sandbox().as_type(Provider).vm_id)
        result = action(len(seen), state.sample_id)
        if result is not None:
            await result
        return state
    return solve

def task(samples=2, action=lambda attempt, sample: None, config=None, **more):
    return Task(dataset=[Sample(input="x", id=i + 1) for i in range(samples)], solver=use(action),
                sandbox=SandboxEnvironmentSpec("proxmox", config or config_of()), **more)

def evaluate(tasks, **more):
    logs = eval(tasks, model="mockllm/model", display="none", log_dir=sys.argv[1], **more)
    return [log.status for log in logs]

def fail_at(*attempts):
    def action(attempt, sample):
        if attempt in attempts:
            raise RuntimeError("on purpose")
    return action
"""


@pytest.fixture
def boxes(line: CommandLine) -> CommandLine:
    """With a template that is cloned in no time."""
    line.ask("/nodes/proxmox/qemu", {"vmid": 100, "tags": "box", "agent": "1"})
    line.ask("/nodes/proxmox/qemu/100/template", {})
    return line


def run(boxes: CommandLine, folder: Path, program: str) -> Any:
    """The last line that `program` prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(folder)],
        env=boxes.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_empty(boxes: CommandLine) -> None:
    _, *rows = (json.loads(row) for row in boxes.run("ls", "--json").stdout.splitlines())
    assert rows == []


def test_epochs_and_retries_have_a_new_vm_each(boxes: CommandLine, tmp_path: Path) -> None:
    program = """
print(json.dumps([evaluate(task(2, fail_at(1)), epochs=2, retry_on_error=1), seen]))
"""
    status, seen = run(boxes, tmp_path, program)
    assert status == ["success"]
    assert len(seen) == 5, "two samples twice, and one of them once more"
    assert_empty(boxes)


def test_several_tasks_and_then_another_evaluation(boxes: CommandLine, tmp_path: Path) -> None:
    program = """
other = config_of(sdn_config=None)
first = evaluate([task(2), task(2, config=other)], max_tasks=2)
print(json.dumps([first, evaluate(task(3)), len(seen)]))
"""
    assert run(boxes, tmp_path, program) == [["success", "success"], ["success"], 7]
    assert_empty(boxes)


def test_a_sample_that_ends_the_evaluation_ends_its_siblings(
    boxes: CommandLine, tmp_path: Path
) -> None:
    """They are cancelled wherever they are: waiting, being made, at work."""
    program = """
def action(attempt, sample):
    if attempt == 3:
        raise RuntimeError("on purpose")
    return anyio.sleep(60)
print(json.dumps(evaluate(task(12, action), fail_on_error=True)))
"""
    assert run(boxes, tmp_path, program) == ["error"]
    assert_empty(boxes)


def test_a_task_that_cant_start_leaves_nothing_and_the_next_one_can(
    boxes: CommandLine, tmp_path: Path
) -> None:
    program = """
try:
    first = evaluate(task(1, config=config_of("no-such-tag")))
except Exception as error:
    first = type(error).__name__
print(json.dumps([first, evaluate(task(1))]))
"""
    assert run(boxes, tmp_path, program) == ["PrerequisiteError", ["success"]]
    assert_empty(boxes)


def test_both_event_loops_in_one_process(boxes: CommandLine, tmp_path: Path) -> None:
    program = """
async def live():
    config = config_of()
    await Provider.task_init("task", config)
    made = await Provider.sample_init("task", config, {})
    await Provider.sample_cleanup("task", config, made, False)
    await Provider.task_cleanup("task", config, True)
    return len(made)
print(json.dumps([anyio.run(live, backend=name) for name in ("asyncio", "trio", "asyncio")]))
"""
    assert run(boxes, tmp_path, program) == [1, 1, 1]
    assert_empty(boxes)


def test_what_is_kept_on_purpose_is_named_with_the_command_that_removes_it(
    boxes: CommandLine, tmp_path: Path
) -> None:
    program = """
print(json.dumps([evaluate(task(2), sandbox_cleanup=False), seen]))
"""
    _, seen = run(boxes, tmp_path, program)
    _, *rows = (json.loads(row) for row in boxes.run("ls", "--json").stdout.splitlines())
    assert {int(row["id"]) for row in rows if row["kind"] == "vm"} == set(seen)
    assert {row["run_life"] for row in rows} == {"kept"}
    (kept,) = [row["id"] for row in rows if row["kind"] == "run"]
    run(boxes, tmp_path, "print(json.dumps(evaluate(task(1))))")
    assert kept in boxes.run("ls").stdout, "the next evaluation leaves it alone"
    assert boxes.run("cleanup", "--run", kept, "--yes").returncode == 0
    assert_empty(boxes)
