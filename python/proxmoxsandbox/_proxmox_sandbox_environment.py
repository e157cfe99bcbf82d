"""The sandbox provider `proxmox`: Inspect's hooks, handed to the C++ core.

What is decided here is only how Inspect's words map to the core's; everything else is C++.
"""

from __future__ import annotations

import shlex
import sys
from typing import Any, Literal, overload

import anyio
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.util import (
    ExecResult,
    SandboxConnection,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    SandboxEnvironmentLimits,
)
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from ._core import CoreError, Operation, Sandbox, Vm
from ._errors import to_inspect
from ._operations import core, finish, logger
from ._places import capacity, take_place
from .schema import (
    CONFIG_FILES,
    ProxmoxSandboxEnvironmentConfig,
    friendly,
    load_config,
    read_logged_config,
)

try:
    from inspect_ai.util import SandboxUserUnsupportedError
except ImportError:  # Inspect before 0.3.274 has no word for it
    SandboxUserUnsupportedError = RuntimeError  # type: ignore[misc, assignment]


class ProxmoxSandboxEnvironment(SandboxEnvironment):
    """One VM as a sandbox."""

    def __init__(self, vm: Vm, sandbox: Sandbox) -> None:
        super().__init__()
        self._vm = vm
        self._sandbox = sandbox

    @property
    def vm_id(self) -> int:
        """The VM's number on its server."""
        return self._vm.vmid

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Addresses by VNet, as the guest showed them when it had come up: the alias, or the card's
        name (`net0`) for a VNet without one. Link-local ones are left out."""
        return self._vm.addresses

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by step: clone, configure, start, agent, commands."""
        return self._vm.timings()

    # --- commands and files ----------------------------------------------------------------------

    # Inspect passes `concurrency` only to exactly these eight parameters.
    @override
    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Runs a command once in the VM.

        `timeout_retry` and `concurrency` change nothing: the core repeats no command, and commands
        wait for nothing but the agent.

        Raises:
            TimeoutError: It did not end in time; `truncated_output` has what it said.
            PermissionError: `cmd[0]` can't be executed.
            SandboxUnavailableError: The VM or its agent is gone.
        """
        _refuse_nul(*cmd, cwd, user, *(env or {}).values())
        if user is not None and self._vm.windows:
            raise SandboxUserUnsupportedError(f"a Windows guest can't run commands as {user}")
        operation = self._vm.exec(
            [word.encode(errors="surrogateescape") for word in cmd],
            input.encode() if isinstance(input, str) else input,
            cwd,
            env or {},
            user,
            float(timeout) if timeout is not None else None,
            SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE,
        )
        code, stdout, stderr = await _finish(operation, path=cmd[0])
        return ExecResult(
            success=code == 0,
            returncode=code,
            stdout=stdout.decode(errors="replace"),
            stderr=stderr.decode(errors="replace"),
        )

    @override
    async def write_file(self, file: str, contents: str | bytes) -> None:
        _refuse_nul(file)
        data = contents.encode() if isinstance(contents, str) else contents
        await _finish(self._vm.write_file(file, data), path=file)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    @override
    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        _refuse_nul(file)
        operation = self._vm.read_file(file, SandboxEnvironmentLimits.MAX_READ_FILE_SIZE)
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR
        data: bytes = await _finish(operation, path=file, limit=limit)
        return data.decode() if text else data

    # --- snapshots -------------------------------------------------------------------------------

    async def create_snapshot(self, name: str, description: str = "") -> None:
        """Saves the VM with its memory. Names: 2..40 of A-Z a-z 0-9 _ -, a letter first."""
        await _finish(self._vm.create_snapshot(name, description))

    async def restore_snapshot(self, name: str) -> None:
        """Puts the VM back to a snapshot and waits until commands run in it."""
        await _finish(self._vm.restore_snapshot(name))

    async def delete_snapshot(self, name: str) -> None:
        await _finish(self._vm.delete_snapshot(name))

    async def list_snapshots(self) -> str:
        """JSON: a list of objects with name, description, parent, snaptime, vmstate."""
        listing: str = await _finish(self._vm.list_snapshots())
        return listing

    # --- how people get in -----------------------------------------------------------------------

    @override
    async def connection(self, *, user: str | None = None) -> SandboxConnection:
        if self._vm.vmid == 0:
            raise ConnectionError("the VM is gone")
        text = f"Open in a browser: {shlex.quote(self._vm.console())}"
        for network, addresses in self.addresses.items():
            text += " " + shlex.quote(f"{network}: {' '.join(addresses) or 'no address'}")
        return SandboxConnection(
            type="proxmox",
            command=f"echo {text}",
            container=str(self._vm.vmid),
        )

    @override
    def default_polling_interval(self) -> float:
        return 0.2

    # --- lifecycle -------------------------------------------------------------------------------

    @override
    @classmethod
    def config_files(cls) -> list[str]:
        return list(CONFIG_FILES)

    @override
    @classmethod
    def is_docker_compatible(cls) -> bool:
        return False

    @override
    @classmethod
    def default_concurrency(cls) -> int | None:
        """As many small samples as all servers take; each one's real size is seen to by the queue
        before the hosts."""
        return capacity()

    @override
    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        return read_logged_config(config)

    @override
    @classmethod
    async def task_init(cls, task_name: str, config: SandboxEnvironmentConfigType | None) -> None:
        try:
            await finish(core().prepare(_config(config).to_spec()))
        except CoreError as ex:
            raise PrerequisiteError(f"Proxmox sandbox: {ex.message}") from None

    @override
    @classmethod
    async def sample_init(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        metadata: dict[str, str],
    ) -> dict[str, SandboxEnvironment]:
        sample = str(metadata.get("__sample_id__", ""))
        chosen = _config(config)
        spec = chosen.to_spec()
        try:
            place = await take_place(spec, chosen.instance_pool_id, task_name, sample)
        except CoreError as ex:
            raise to_inspect(ex) from ex
        operation = core().bring_up(spec, task_name, sample, place)
        try:
            sandbox: Sandbox = await finish(operation)
        except anyio.get_cancelled_exc_class():
            await _destroy_late(operation)
            raise
        except CoreError as ex:
            raise to_inspect(ex) from ex
        for vm in sandbox.vms:
            steps = ", ".join(f"{step} {span:.1f} s" for step, span in vm.timings().items() if span)
            logger.info("sandbox %s is VM %d on %s: %s", vm.name, vm.vmid, vm.node, steps)
        return {vm.name: cls(vm, sandbox) for vm in sandbox.vms}

    @override
    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        for environment in environments.values():
            # All VMs of a sample share one Sandbox, so the first one takes them all.
            sandbox = environment.as_type(ProxmoxSandboxEnvironment)._sandbox
            await _finish(sandbox.destroy())
            return

    @override
    @classmethod
    async def task_cleanup(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, cleanup: bool
    ) -> None:
        lines: list[str] = await _finish(core().sweep(cleanup))
        if not cleanup and lines:
            # Standard output may be read by a machine.
            print("\nProxmox VMs that were kept:\n", *lines, "", sep="\n", file=sys.stderr)

    @override
    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:
        try:
            lines: list[str] = await finish(core().cleanup(id))
        except CoreError as ex:
            raise PrerequisiteError(f"Proxmox sandbox: {ex.message}") from None
        print("\n".join(lines) if lines else "Nothing to clean up.")


async def _finish(operation: Operation, path: str = "", limit: str = "") -> Any:
    try:
        return await finish(operation)
    except CoreError as ex:
        raise to_inspect(ex, path, limit) from ex


def _refuse_nul(*texts: str | None) -> None:
    """No name or argument in a guest has a NUL. Inspect shows this very text to the model."""
    if any(text is not None and "\0" in text for text in texts):
        raise ValueError("embedded null byte")


async def _destroy_late(operation: Operation) -> None:
    """A start that was cancelled too late to stop has made VMs that nobody asks for any more."""
    try:
        sandbox: Sandbox = operation.result()
    except CoreError:
        return
    with anyio.CancelScope(shield=True):
        await finish(sandbox.destroy())


def _config(config: SandboxEnvironmentConfigType | None) -> ProxmoxSandboxEnvironmentConfig:
    """Whatever Inspect hands over as the configuration.

    Raises:
        PrerequisiteError: It is no configuration of ours; the text names field and rule.
    """
    try:
        match config:
            case ProxmoxSandboxEnvironmentConfig():
                return config
            case None:
                return ProxmoxSandboxEnvironmentConfig()
            case str():
                return load_config(config)
            case dict():
                return read_logged_config(config)
    except ValidationError as ex:
        raise PrerequisiteError(f"Proxmox sandbox: {friendly(ex)}") from None
    except ValueError as ex:
        raise PrerequisiteError(f"Proxmox sandbox: {ex}") from None
    raise PrerequisiteError(
        f"Proxmox sandbox: a configuration is a ProxmoxSandboxEnvironmentConfig or the name of a "
        f"file, not {type(config).__name__}"
    )
