"""Commands and files: what Inspect asks, as the core gets it, and back."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import anyio
import pytest
from inspect_ai.util import (
    OutputLimitExceededError,
    SandboxEnvironmentLimits,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
)
from inspect_ai.util._sandbox.events import SandboxEnvironmentProxy
from inspect_ai.util._sandbox.limits import override_sandbox_output_limit

from proxmoxsandbox._errors import to_inspect
from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment

from .conftest import Run
from .fake_core import Core, Exec, Vm, core_error, wait


def test_exec_has_the_eight_parameters_that_inspect_counts() -> None:
    names = list(inspect.signature(ProxmoxSandboxEnvironment.exec).parameters)
    assert names[1:] == [
        "cmd", "input", "cwd", "env", "user", "timeout", "timeout_retry", "concurrency",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ({"cmd": ["printf", "\u00e9 \U0001f600"]}, {"argv": [b"printf", "\u00e9 \U0001f600".encode()]}),
        ({"cmd": ["a", "\udcff"]}, {"argv": [b"a", b"\xff"]}),
        ({"cmd": ["a"]}, {"input": None, "cwd": None, "env": {}, "user": None, "timeout": None}),
        ({"cmd": ["a"], "input": ""}, {"input": b""}),
        ({"cmd": ["a"], "input": "\u00e9"}, {"input": "\u00e9".encode()}),
        ({"cmd": ["a"], "input": b"\0\xff"}, {"input": b"\0\xff"}),
        ({"cmd": ["a"], "cwd": "x y", "user": "1000"}, {"cwd": "x y", "user": "1000"}),
        ({"cmd": ["a"], "env": {"A": "b c"}, "timeout": 1.5}, {"env": {"A": "b c"}, "timeout": 1.5}),
    ],
)  # fmt: skip
def test_exec_hands_over(
    asked: dict[str, Any],
    got: dict[str, Any],
    environment: ProxmoxSandboxEnvironment,
    vm: Vm,
    run: Run,
) -> None:
    run(lambda: environment.exec(**asked))
    (call,) = vm.calls
    assert {name: getattr(call, name) for name in got} == got


@pytest.mark.parametrize(
    ("answer", "success", "stdout", "stderr"),
    [
        ((0, b"a\r\nb\n", b""), True, "a\r\nb\n", ""),
        ((3, b"", b"no\n"), False, "", "no\n"),
        ((143, b"\xff", b"\xc3\xa9"), False, "\ufffd", "\u00e9"),
    ],
)
def test_exec_hands_back(
    answer: tuple[int, bytes, bytes],
    success: bool,
    stdout: str,
    stderr: str,
    environment: ProxmoxSandboxEnvironment,
    core: Core,
    run: Run,
) -> None:
    core.on_exec = lambda call, stop: answer
    result = run(environment.exec, ["a"])
    assert (result.success, result.returncode) == (success, answer[0])
    assert (result.stdout, result.stderr) == (stdout, stderr)


@pytest.mark.parametrize(
    "asked",
    [
        {"cmd": ["a", "b\0c"]},
        {"cmd": ["a"], "cwd": "/\0"},
        {"cmd": ["a"], "user": "\0"},
        {"cmd": ["a"], "env": {"A": "\0"}},
    ],
)
def test_a_nul_is_refused_in_inspects_words(
    asked: dict[str, Any], environment: ProxmoxSandboxEnvironment, vm: Vm, run: Run
) -> None:
    with pytest.raises(ValueError, match=r"^embedded null byte$"):
        run(lambda: environment.exec(**asked))
    with pytest.raises(ValueError, match=r"^embedded null byte$"):
        run(environment.read_file, "a\0b")
    with pytest.raises(ValueError, match=r"^embedded null byte$"):
        run(environment.write_file, "a\0b", "")
    assert not vm.calls and not vm.files


def test_limits_are_those_of_the_caller(
    environment: ProxmoxSandboxEnvironment, vm: Vm, run: Run
) -> None:
    async def main() -> None:
        await environment.exec(["a"])
        with override_sandbox_output_limit(1024):
            await environment.exec(["a"])
            await environment.write_file("f", b"x" * 2000)
            with pytest.raises(OutputLimitExceededError) as caught:
                await environment.read_file("f")
            text = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR
            assert f"limit of {text} was exceeded" in str(caught.value)

    run(main)
    assert [call.output_limit for call in vm.calls] == [10 << 20, 1024]
    assert vm.limits == [1024]


# kind, exception, text in it
ERRORS: list[tuple[str, type[BaseException], str]] = [
    ("timeout", TimeoutError, "said"),
    ("unavailable", SandboxUnavailableError, "said"),
    ("agent_down", SandboxUnavailableError, "said"),
    ("unreachable", SandboxUnavailableError, "said"),
    ("proxy", SandboxUnavailableError, "said"),
    ("not_found", SandboxUnavailableError, "said"),
    ("file_not_found", FileNotFoundError, "/a/file"),
    ("file_permission", PermissionError, "/a/file"),
    ("is_directory", IsADirectoryError, "directory"),
    ("output_limit", OutputLimitExceededError, "limit of 100 MiB was exceeded"),
    ("bad_input", ValueError, "said"),
    ("auth", RuntimeError, "said"),
    ("tls", RuntimeError, "said"),
    ("task_failed", RuntimeError, "said"),
    ("internal", RuntimeError, "said"),
]


@pytest.mark.parametrize(("kind", "type_", "text"), ERRORS, ids=[row[0] for row in ERRORS])
def test_each_error_of_the_core_is_one_of_inspects(
    kind: str, type_: type[BaseException], text: str
) -> None:
    made = to_inspect(core_error(kind, "said", b"so far \xff"), "/a/file", "100 MiB")
    assert type(made) is type_
    assert text in str(made)
    if isinstance(made, OSError) and kind != "timeout":
        assert made.filename == "/a/file" and made.strerror


def test_a_timeout_keeps_what_the_command_said(
    environment: ProxmoxSandboxEnvironment, core: Core, run: Run
) -> None:
    def expire(call: Exec, stop: threading.Event) -> tuple[int, bytes, bytes]:
        raise core_error("timeout", "no end within 1 s", b"so far \xff")

    core.on_exec = expire
    with pytest.raises(TimeoutError) as caught:
        run(lambda: environment.exec(["sleep", "9"], timeout=1))
    assert getattr(caught.value, "truncated_output", None) == "so far \ufffd"


def test_a_cancelled_command_is_stopped_and_the_vm_still_usable(
    environment: ProxmoxSandboxEnvironment, core: Core, run: Run
) -> None:
    stopped = threading.Event()

    def obey(call: Exec, stop: threading.Event) -> tuple[int, bytes, bytes]:
        if call.argv[0] == b"sleep":
            try:
                wait(stop, 60)
            finally:
                stopped.set()
        return 0, b"fine", b""

    core.on_exec = obey

    async def main() -> str:
        with anyio.move_on_after(0.1):
            await environment.exec(["sleep", "60"])
        assert stopped.is_set()
        return (await environment.exec(["true"])).stdout

    assert run(main) == "fine"


def test_files_keep_their_bytes(environment: ProxmoxSandboxEnvironment, run: Run) -> None:
    async def main() -> None:
        await environment.write_file("a b%", "one\r\ntwo\u00e9")
        assert await environment.read_file("a b%") == "one\r\ntwo\u00e9"
        await environment.write_file("bytes", b"\xff\0")
        assert await environment.read_file("bytes", text=False) == b"\xff\0"
        with pytest.raises(UnicodeDecodeError):
            await environment.read_file("bytes")
        with pytest.raises(FileNotFoundError, match="nothing"):
            await environment.read_file("nothing")

    run(main)


def test_a_windows_guest_runs_as_nobody_else(
    environment: ProxmoxSandboxEnvironment, vm: Vm, run: Run
) -> None:
    vm.windows = True
    with pytest.raises(SandboxUserUnsupportedError, match="root"):
        run(lambda: environment.exec(["a"], user="root"))
    run(environment.exec, ["a"])


def test_snapshots_reach_the_core(
    environment: ProxmoxSandboxEnvironment, core: Core, run: Run
) -> None:
    async def main() -> str:
        await environment.create_snapshot("before", "why")
        await environment.restore_snapshot("before")
        await environment.delete_snapshot("before")
        return await environment.list_snapshots()

    assert "before" in run(main)
    assert core.did == [
        ("create", "before", "why", "101"),
        ("restore", "before", "101"),
        ("delete", "before", "101"),
    ]


def test_a_connection_shows_the_console(
    environment: ProxmoxSandboxEnvironment, vm: Vm, run: Run
) -> None:
    connection = run(environment.connection)
    assert connection.type == "proxmox" and vm.console() in connection.command
    assert environment.vm_id == 101
    vm.addresses = {"lan": ["10.1.0.9"]}
    assert environment.addresses == {"lan": ["10.1.0.9"]}
    assert "'lan: 10.1.0.9'" in run(environment.connection).command
    vm.vmid = 0
    with pytest.raises(ConnectionError):
        run(environment.connection)


def test_through_inspects_proxy_a_timeout_shows_the_partial_output(
    environment: ProxmoxSandboxEnvironment, core: Core, run: Run
) -> None:
    def expire(call: Exec, stop: threading.Event) -> tuple[int, bytes, bytes]:
        raise core_error("timeout", "no end within 1 s", b"so far")

    core.on_exec = expire

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            await SandboxEnvironmentProxy(environment).exec(["a"], timeout=1, concurrency=False)
        assert getattr(caught.value, "truncated_output", None) == "so far"

    run(main)
