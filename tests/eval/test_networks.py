"""Networks of real guests: leases and booked addresses by DHCP on the local node."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import (
    DhcpRange,
    ProxmoxSandboxEnvironmentConfig,
    SdnConfig,
    SubnetConfig,
    VmConfig,
    VmNicConfig,
    VmSourceConfig,
    VnetConfig,
)

from .conftest import Node, bring_up, take_down

IMAGE = VmSourceConfig(built_in="debian13-small")


def test_a_vm_has_an_address_of_its_own_network_by_default(node: Node) -> None:
    config = ProxmoxSandboxEnvironmentConfig(
        vms_config=(VmConfig(vm_source_config=IMAGE, ram_mb=256, vcpus=1),)
    )
    environments = bring_up(config)
    vm = environments["default"].as_type(ProxmoxSandboxEnvironment)
    assert [ip_address(text) in ip_network("192.168.0.0/16") for text in vm.addresses["net0"]] == [
        True
    ]
    take_down(config, environments)


def test_two_vms_have_the_addresses_that_are_booked_for_them(node: Node) -> None:
    subnet = SubnetConfig(
        cidr=ip_network("10.77.0.0/24"),
        gateway=ip_address("10.77.0.1"),
        snat=False,
        dhcp_ranges=(DhcpRange(start=ip_address("10.77.0.50"), end=ip_address("10.77.0.60")),),
    )
    booked = {"one": "10.77.0.9", "two": "10.77.0.10"}
    config = ProxmoxSandboxEnvironmentConfig(
        sdn_config=SdnConfig(vnet_configs=(VnetConfig(alias="lan", subnets=(subnet,)),)),
        vms_config=tuple(
            VmConfig(
                vm_source_config=IMAGE,
                name=name,
                ram_mb=256,
                vcpus=1,
                nics=(
                    VmNicConfig(
                        vnet_alias="lan",
                        mac=f"BC:24:11:00:00:{i:02}",
                        ipv4=IPv4Address(address),
                    ),
                ),
            )
            for i, (name, address) in enumerate(booked.items())
        ),
    )
    environments = bring_up(config)
    seen = {
        name: vm.as_type(ProxmoxSandboxEnvironment).addresses for name, vm in environments.items()
    }
    assert seen == {name: {"lan": [address]} for name, address in booked.items()}
    take_down(config, environments)
