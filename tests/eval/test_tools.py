"""Inspect's tools in a VM, driven by mockllm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageTool, ModelOutput, ModelUsage, get_model
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver, use_tools
from inspect_ai.tool import Tool, bash, bash_session, python, text_editor
from inspect_ai.util import SandboxEnvironmentSpec, sandbox, sandbox_service, store

from .conftest import Node, config_of


def run(*steps: Solver, calls: Sequence[tuple[str, dict[str, Any]]] = ()) -> EvalLog:
    """An evaluation of one sample whose model makes these tool calls, one after the other."""

    def play(messages: list[Any], *_: Any) -> ModelOutput:
        done = sum(isinstance(message, ChatMessageTool) for message in messages)
        if done < len(calls):
            output = ModelOutput.for_tool_call("mockllm/model", *calls[done])
        else:
            output = ModelOutput.from_content("mockllm/model", "done")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    task = Task(
        dataset=[Sample(input="go")],
        solver=list(steps),
        sandbox=SandboxEnvironmentSpec("proxmox", config_of("user")),
        model=get_model("mockllm/model", custom_outputs=play),
    )
    (log,) = eval(task, display="none", log_dir="build/reports/logs", log_format="json")
    assert log.status == "success", log.error
    return log


def answers(log: EvalLog) -> list[str]:
    assert log.samples
    return [
        f"{message.text}{message.error.message if message.error else ''}"
        for message in log.samples[0].messages
        if isinstance(message, ChatMessageTool)
    ]


def test_tools_that_run_commands_and_those_that_are_injected(node: Node) -> None:
    tools: list[Tool] = [
        bash(timeout=60),
        python(timeout=60),
        text_editor(timeout=180),
        bash_session(timeout=240),
    ]
    got = answers(
        run(
            use_tools(tools),
            generate(),
            calls=[
                ("bash", {"command": "id -un"}),
                ("python", {"code": "print(6 * 7)"}),
                (
                    "text_editor",
                    {"command": "create", "path": "/tmp/a.txt", "file_text": "one\ntwo\n"},
                ),
                ("text_editor", {"command": "view", "path": "/tmp/a.txt"}),
                ("bash_session", {"action": "type_submit", "input": "cat /tmp/a.txt | wc -l"}),
            ],
        )
    )
    assert got[0].strip() == "user"
    assert got[1].strip() == "42"
    assert "two" in got[3]
    assert "2" in got[4]


@solver
def remote_and_service() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        result = await sandbox().exec_remote(["sh", "-c", "echo remote; exit 3"], stream=False)
        store().set("remote", [result.returncode, result.stdout])
        return state

    return solve


def test_exec_remote(node: Node) -> None:
    log = run(remote_and_service())
    assert log.samples
    assert log.samples[0].store["remote"] == [3, "remote\n"]


@solver
def with_service() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        import anyio

        async def double(number: int) -> int:
            store().set("seen", number)
            return number * 2

        done = anyio.Event()
        code = (
            "import sys; sys.path.append('/var/tmp/sandbox-services/doubler'); "
            "import doubler; print(doubler.call_doubler('double', number=21))"
        )
        async with anyio.create_task_group() as group:

            async def serve() -> None:
                await sandbox_service("doubler", [double], done.is_set, sandbox())

            group.start_soon(serve)
            for _ in range(60):
                result = await sandbox().exec(["python3", "-c", code], concurrency=False)
                if result.success:
                    break
                await anyio.sleep(1)
            store().set("answer", result.stdout.strip() or result.stderr)
            done.set()
        return state

    return solve


def test_a_sandbox_service(node: Node) -> None:
    log = run(with_service())
    assert log.samples
    assert log.samples[0].store["answer"] == "42"
