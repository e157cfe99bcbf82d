"""From a task's start to its end."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
import sniffio
from inspect_ai import Task, eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import SandboxEnvironmentSpec, sandbox
from pydantic import SecretStr

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment as Provider
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig

from .conftest import CONFIG, SOURCE, Run
from .fake_core import Core, core_error, wait

TWO_VMS = ProxmoxSandboxEnvironmentConfig(
    sdn_config=None,
    vms_config=(
        VmConfig(vm_source_config=SOURCE, name="router", is_sandbox=False, nics=()),
        VmConfig(vm_source_config=SOURCE, name="attacker", nics=()),
        VmConfig(vm_source_config=SOURCE, name="victim", nics=()),
    ),
)


def test_a_task_that_cant_start_says_why(core: Core, run: Run) -> None:
    def refuse(stop: threading.Event) -> None:
        raise core_error("auth", "PROXMOX_PASSWORD: the server refuses it")

    core.on_prepare = refuse
    with pytest.raises(PrerequisiteError, match="PROXMOX_PASSWORD"):
        run(Provider.task_init, "task", CONFIG)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (3, "not int"),
        ("/nowhere/config.yaml", "/nowhere/config.yaml"),
        ({"vms_config": [{"ram_mb": -1}]}, "vms_config.0.ram_mb"),
    ],
)
def test_what_is_no_configuration_is_refused(config: Any, says: str, core: Core, run: Run) -> None:
    with pytest.raises(PrerequisiteError, match=says):
        run(Provider.task_init, "task", config)
    assert not core.specs


def test_a_sample_has_its_sandboxes_by_name_the_first_one_first(core: Core, run: Run) -> None:
    made = run(Provider.sample_init, "task", TWO_VMS, {"__sample_id__": "7"})
    assert list(made) == ["attacker", "victim"]
    assert core.did == [("take_place", "task", "7"), ("bring_up", "task", "7")]


def test_clean_up_destroys_the_whole_sample(core: Core, run: Run) -> None:
    async def main() -> None:
        made = await Provider.sample_init("task", TWO_VMS, {})
        assert len(core.sandboxes) == 1
        await Provider.sample_cleanup("task", TWO_VMS, made, False)
        await Provider.sample_cleanup("task", TWO_VMS, {}, True)

    run(main)
    assert not core.sandboxes


@pytest.mark.parametrize("obedient", [True, False], ids=["stops", "comes up all the same"])
def test_a_start_that_is_cancelled_leaves_no_vm(obedient: bool, core: Core, run: Run) -> None:
    core.on_bring_up = (lambda stop: wait(stop, 60)) if obedient else (lambda stop: stop.wait(60))

    async def main() -> bool:
        with anyio.move_on_after(0.1) as scope:
            await Provider.sample_init("task", CONFIG, {})
        return scope.cancelled_caught

    assert run(main)
    assert not core.sandboxes


def test_what_a_cancelled_clean_up_leaves_the_end_of_the_task_takes(core: Core, run: Run) -> None:
    core.destroy_seconds = 60

    async def main() -> None:
        made = await Provider.sample_init("task", CONFIG, {})
        with anyio.move_on_after(0.1):
            await Provider.sample_cleanup("task", CONFIG, made, False)
        assert core.sandboxes
        await Provider.task_cleanup("task", CONFIG, True)
        await Provider.task_cleanup("task", CONFIG, True)

    run(main)
    assert not core.sandboxes


def test_kept_vms_are_listed_where_no_machine_reads(
    core: Core, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        await Provider.sample_init("task", CONFIG, {})
        await Provider.task_cleanup("task", CONFIG, False)

    run(main)
    said = capsys.readouterr()
    assert "VM 101" in said.err and not said.out
    assert core.sandboxes


def test_the_clean_up_command_says_what_it_did(
    core: Core, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str | None] = []

    def clean(id: str | None) -> list[str]:
        asked.append(id)
        return ["removed VM 101"] if id else []

    core.on_cleanup = clean
    run(Provider.cli_cleanup, "1a2b3c4d")
    run(Provider.cli_cleanup, None)
    assert asked == ["1a2b3c4d", None]
    assert capsys.readouterr().out == "removed VM 101\nNothing to clean up.\n"

    def fail(id: str | None) -> list[str]:
        raise core_error("busy", "VM 101 is left")

    core.on_cleanup = fail
    with pytest.raises(PrerequisiteError, match="VM 101 is left"):
        run(Provider.cli_cleanup, None)


@solver
def look() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.metadata["backend"] = sniffio.current_async_library()
        await sandbox().exec(["true"])
        assert await sandbox().read_file("in.txt") == "copied in"
        return state

    return solve


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_evaluation_runs_and_its_log_can_be_read_back(
    backend: str, core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECT_ASYNC_BACKEND", backend)
    config = CONFIG.model_copy(update={"password": SecretStr("hunter2")})
    log = eval(
        Task(
            dataset=[Sample(id=n, input="x", files={"in.txt": "copied in"}) for n in (1, 2, 3)],
            solver=look(),
            sandbox=SandboxEnvironmentSpec("proxmox", config),
        ),
        model="mockllm/model",
        display="none",
        log_dir=str(tmp_path),
        log_format="json",
    )[0]
    assert log.status == "success", log.error
    assert log.samples and {sample.metadata["backend"] for sample in log.samples} == {backend}
    assert not core.sandboxes
    assert len([what for what in core.did if what[0] == "bring_up"]) == 3
    text = Path(log.location.removeprefix("file://")).read_text()
    assert "hunter2" not in text
    assert "is VM 101 on pve" in text, "the INFO lines are not in the log"
    again = read_eval_log(log.location).eval.sandbox
    assert again is not None
    assert again.config == CONFIG
    # The password of the evaluation itself did reach the core.
    assert core.specs[0]["password"] == "hunter2"


def test_a_failed_start_fails_its_sample_with_the_reason(core: Core, tmp_path: Path) -> None:
    def refuse(stop: threading.Event) -> None:
        raise core_error("task_failed", "clone 9001: no space left on device")

    core.on_bring_up = refuse
    begin = time.monotonic()
    log = eval(
        Task(dataset=[Sample(input="x")], sandbox=SandboxEnvironmentSpec("proxmox", CONFIG)),
        model="mockllm/model",
        display="none",
        log_dir=str(tmp_path),
        log_format="json",
    )[0]
    assert log.status == "error" and log.error is not None
    assert "no space left" in log.error.message
    assert time.monotonic() - begin < 10


def test_a_configuration_without_anything_is_the_default_one(core: Core, run: Run) -> None:
    run(Provider.task_init, "task", None)
    assert core.specs == [json.loads(ProxmoxSandboxEnvironmentConfig().to_spec())]
