"""A cloud image becomes a template, in real guests: started once, cleaned, cloned."""

from __future__ import annotations

from typing import Any

import anyio

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

from .conftest import Node, bring_up, take_down

# The keys come with the first start, the agent answers before them.
HOST_KEY = """
for _ in $(seq 240); do
  [ -e /var/lib/inspect-first-boot ] || break
  sleep 0.5
done
cat /etc/ssh/ssh_host_ed25519_key.pub
"""


def two_clones() -> ProxmoxSandboxEnvironmentConfig:
    source = VmSourceConfig(built_in="debian13")
    vms = (
        VmConfig(name="one", vm_source_config=source, ram_mb=512),
        VmConfig(
            name="two", vm_source_config=source, ram_mb=512, user="debian", nic_controller="e1000"
        ),
    )
    return ProxmoxSandboxEnvironmentConfig(vms_config=vms)


async def said(vm: ProxmoxSandboxEnvironment, command: str, user: str = "root") -> str:
    result = await vm.exec(["sh", "-c", command], user=user)
    assert result.success, result
    return result.stdout.strip()


async def check(environments: dict[str, Any]) -> None:
    one, two = environments["one"], environments["two"]
    assert await said(one, "cat /etc/machine-id") != await said(two, "cat /etc/machine-id")
    assert await said(one, HOST_KEY) != await said(two, HOST_KEY)
    assert (await two.exec(["id", "-un"])).stdout.strip() == "debian"
    assert one.addresses["net0"] != two.addresses["net0"]
    # What the first start did and knew is gone.
    gone = "/var/lib/cloud/instance /var/lib/cloud/data"
    assert await said(one, f"ls -d {gone} 2>/dev/null || true") == ""
    assert await said(one, "cloud-init status | head -1") == "status: disabled"


def remove_uplink(node: Node) -> None:
    """The permanent network would be one more for the tests that count requests."""
    sdn = "/api2/json/cluster/sdn"
    node.ask(f"{sdn}/vnets/inspvmv0/subnets/inspvmz-192.168.99.0-24", method="DELETE")
    node.ask(f"{sdn}/vnets/inspvmv0", method="DELETE")
    node.ask(f"{sdn}/zones/inspvmz", method="DELETE")
    node.ask(sdn, {}, method="PUT")


def test_a_cloud_image_is_baked_once_and_its_clones_differ(node: Node) -> None:
    media = node.media()
    config = two_clones()
    environments = bring_up(config)
    try:
        path = f"/api2/json/nodes/{node.variables['PROXMOX_NODE']}/qemu"
        (made,) = (
            vm
            for vm in node.ask(path)
            if vm.get("template") and "builtin-debian13" in vm["tags"].split(";")
        )
        options = node.ask(f"{path}/{made['vmid']}/config")
        assert options["template"] == 1
        assert "net0" not in options
        assert not any("cdrom" in str(value) for value in options.values())
        assert node.media() == media, "the seed is gone"
        anyio.run(check, environments)
    finally:
        take_down(config, environments)
        remove_uplink(node)
