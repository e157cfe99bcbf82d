"""Entry point: what Inspect imports to find the provider."""

from inspect_ai.util import sandboxenv

from ._proxmox_sandbox_environment import ProxmoxSandboxEnvironment


@sandboxenv(name="proxmox")
def proxmox() -> type[ProxmoxSandboxEnvironment]:
    """Inspect calls this at once; importing the package starts nothing."""
    return ProxmoxSandboxEnvironment
