"""Snapshots of a sample's VMs from inside an evaluation, as plain functions."""

from __future__ import annotations

from inspect_ai.util import sandbox

from .._proxmox_sandbox_environment import ProxmoxSandboxEnvironment


def _environment(name: str | None) -> ProxmoxSandboxEnvironment:
    return sandbox(name).as_type(ProxmoxSandboxEnvironment)


async def create_snapshot(snapshot: str, sandbox_name: str | None = None) -> None:
    """Saves a VM of the current sample with its memory.

    Args:
        snapshot: 2..40 of A-Z a-z 0-9 _ -, a letter first.
        sandbox_name: Which VM; None = the default one.
    """
    await _environment(sandbox_name).create_snapshot(snapshot)


async def restore_snapshot(snapshot: str, sandbox_name: str | None = None) -> None:
    """Puts a VM of the current sample back to a snapshot; commands run in it afterwards."""
    await _environment(sandbox_name).restore_snapshot(snapshot)


async def delete_snapshot(snapshot: str, sandbox_name: str | None = None) -> None:
    """Deletes a snapshot of a VM of the current sample."""
    await _environment(sandbox_name).delete_snapshot(snapshot)
