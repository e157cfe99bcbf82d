"""The configuration's rules, its errors, its secrets."""

from __future__ import annotations

import ipaddress
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from proxmoxsandbox import schema
from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import (
    CloudInit,
    DhcpRange,
    HttpHeader,
    NativeConfig,
    ProxmoxSandboxEnvironmentConfig,
    SdnConfig,
    SubnetConfig,
    VmConfig,
    VmNicConfig,
    VmSourceConfig,
    VnetConfig,
    friendly,
    load_config,
)

SOURCE = VmSourceConfig(built_in="debian13")
SUBNET = {
    "cidr": "192.168.20.0/24",
    "gateway": "192.168.20.1",
    "snat": True,
    "dhcp_ranges": [{"start": "192.168.20.50", "end": "192.168.20.100"}],
    "extra_proxmox_native_config": {"dnszoneprefix": "lab"},
}
FULL: dict[str, Any] = {
    "instance_pool_id": "big",
    "host": "pve.test",
    "port": 443,
    "user": "inspect",
    "user_realm": "pve",
    "password": "hunter2",
    "node": "pve1",
    "verify_tls": False,
    "image_storage": "fast",
    "sdn_config": {
        "vnet_configs": [
            {
                "alias": "lan",
                "subnets": [SUBNET],
                "extra_proxmox_native_config": {"isolate-ports": True},
            }
        ],
        "extra_proxmox_native_config": {"mtu": 1400},
    },
    "vms_config": [
        {
            "vm_source_config": {"ova": "disk.ova"},
            "name": "agent.lan",
            "ram_mb": 512,
            "vcpus": 1,
            "nics": [
                {"vnet_alias": "lan", "mac": "52:54:00:12:34:5a", "ipv4": "192.168.20.60"}
            ],
            "is_sandbox": True,
            "uefi_boot": True,
            "disk_controller": "ide",
            "nic_controller": "e1000",
            "firewall": True,
            "os_type": "win11",
            "cpu": "qemu64",
            "await_before_next_vm": True,
            "user": "user",
            "disk_gb": 20,
            "full_clone": True,
            "tpm": True,
            "secure_boot": True,
            "machine": "q35",
            "pool": "research",
            "storage": "fast",
            "cloud_init": {
                "user_data": "#cloud-config\nwrite_files: [{path: /a, content: s3cret}]\n",
                "network": "version: 2\n",
                "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ alice"],
                "packages": ["nginx"],
                "run": ["echo $HOME", ["touch", "/b"]],
            },
            "extra_proxmox_native_config": {"balloon": 0, "vga": "qxl", "tablet": False},
        }
    ],
    "verify_isolation": True,
}  # fmt: skip


def changed(**changes: Any) -> dict[str, Any]:
    """FULL with changes: of the whole, or of its VM where the key is one of VmConfig's."""
    copy: dict[str, Any] = json.loads(json.dumps(FULL))
    for key, value in changes.items():
        inside = key in VmConfig.model_fields and key != "user"
        (copy["vms_config"][0] if inside else copy)[key] = value
    return copy


def test_defaults_are_those_of_the_existing_provider() -> None:
    config = ProxmoxSandboxEnvironmentConfig()
    assert config.instance_pool_id == "default" and config.sdn_config == "auto"
    (vm,) = config.vms_config
    assert vm.vm_source_config.built_in == "ubuntu24.04"
    assert vm.model_dump(exclude={"vm_source_config"}) == {
        "name": None, "ram_mb": 2048, "vcpus": 2, "nics": None, "is_sandbox": True,
        "uefi_boot": False, "disk_controller": None, "nic_controller": None, "firewall": False,
        "os_type": "l26", "cpu": None, "await_before_next_vm": False, "user": None,
        "disk_gb": None, "full_clone": False, "tpm": False, "secure_boot": False,
        "machine": None, "pool": None, "storage": None, "cloud_init": None,
        "extra_proxmox_native_config": {},
    }  # fmt: skip


def test_a_full_configuration_is_hashable_and_survives_json() -> None:
    config = ProxmoxSandboxEnvironmentConfig.model_validate(FULL)
    again = ProxmoxSandboxEnvironmentConfig.model_validate(FULL)
    assert config == again and hash(config) == hash(again)
    assert config != ProxmoxSandboxEnvironmentConfig.model_validate(changed(ram_mb=1024))
    logged = config.model_dump(mode="json")
    assert "hunter2" not in json.dumps(logged) and "s3cret" not in json.dumps(logged)
    read = ProxmoxSandboxEnvironment.config_deserialize(json.loads(json.dumps(logged)))
    assert read.model_dump(mode="json") == {**logged, "password": None}
    assert hash(read)


def test_an_image_is_a_file_or_a_url() -> None:
    url = "https://host/a/victim.ova?x=1"
    source = VmSourceConfig(ova=url, checksum="sha256:" + "a" * 64)
    assert source.ova == url and VmSourceConfig(disk="a/b.img").disk == Path("a/b.img")
    read = VmSourceConfig.model_validate(json.loads(source.model_dump_json()))
    assert read == source and hash(read) == hash(source)
    with pytest.raises(ValidationError, match="only ova, disk and iso have one, not built_in"):
        VmSourceConfig(built_in="debian13", checksum="sha256:" + "a" * 64)


def test_what_is_left_out_beside_an_ova_is_left_to_it() -> None:
    config = ProxmoxSandboxEnvironmentConfig(
        vms_config=(VmConfig(vm_source_config=VmSourceConfig(ova=Path("a.ova")), vcpus=2),)
    )
    (vm,) = json.loads(config.to_spec())["vms_config"]
    assert set(vm) == {"vm_source_config", "vcpus"}
    read = ProxmoxSandboxEnvironment.config_deserialize(config.model_dump(mode="json"))
    assert isinstance(read, ProxmoxSandboxEnvironmentConfig)
    assert read.to_spec() == config.to_spec()


def test_images_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    file = tmp_path / "proxmox.yaml"
    file.write_text(
        "vms_config:\n"
        "  - vm_source_config: {ova: victim.ova}\n"
        "  - vm_source_config: {disk: /images/router.qcow2}\n"
    )
    sources = [vm.vm_source_config for vm in load_config(file).vms_config]
    assert sources[0].ova == tmp_path / "victim.ova"
    assert sources[1].disk == Path("/images/router.qcow2")


def test_no_network_survives_a_log_that_leaves_out_what_is_none() -> None:
    config = ProxmoxSandboxEnvironmentConfig(sdn_config=None)
    logged = config.model_dump(mode="json", exclude_none=True)
    assert ProxmoxSandboxEnvironment.config_deserialize(logged) == config
    assert json.loads(config.to_spec())["sdn_config"] is None


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        SOURCE.built_in = "other"  # type: ignore[misc]


def test_addresses_may_be_objects_or_text() -> None:
    made = SubnetConfig(
        cidr=ipaddress.ip_network("192.168.20.0/24"),
        gateway=ipaddress.ip_address("192.168.20.1"),
        snat=True,
        dhcp_ranges=(
            DhcpRange(
                start=ipaddress.ip_address("192.168.20.50"),
                end=ipaddress.ip_address("192.168.20.100"),
            ),
        ),
        extra_proxmox_native_config=NativeConfig(dnszoneprefix="lab"),
    )
    assert made == SubnetConfig.model_validate(SUBNET)
    assert made.model_dump(mode="json") == SUBNET


def test_the_core_gets_the_whole_with_the_password() -> None:
    spec = json.loads(ProxmoxSandboxEnvironmentConfig.model_validate(FULL).to_spec())
    assert spec["password"] == "hunter2"
    assert spec["vms_config"][0]["vm_source_config"]["ova"] == "disk.ova"
    assert spec["vms_config"][0]["nics"][0]["mac"] == "52:54:00:12:34:5A"
    assert spec["sdn_config"]["vnet_configs"][0]["subnets"] == [SUBNET]
    assert set(spec) == set(FULL)
    assert set(spec["vms_config"][0]) == set(VmConfig.model_fields)


def test_what_cloud_init_does_is_seen_by_the_core_alone() -> None:
    config = ProxmoxSandboxEnvironmentConfig.model_validate(FULL)
    given = FULL["vms_config"][0]["cloud_init"]
    assert json.loads(config.to_spec())["vms_config"][0]["cloud_init"] == given
    assert "s3cret" not in repr(config) + str(config)


def test_a_network_configuration_is_written_as_text_or_as_it_is() -> None:
    network = {"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}
    assert json.loads(CloudInit.model_validate({"network": network}).network or "") == network
    CloudInit(network="network:\n  version: 1\n  config: []\n")


@pytest.mark.parametrize("text", ["#!/bin/sh\n", "MIME-Version: 1.0\n", "#cloud-config \n"])
def test_user_data_are_of_any_form_that_begins_as_such(text: str) -> None:
    assert CloudInit(user_data=SecretStr(text)).user_data == SecretStr(text)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"user_data": "s3cret: 1"}, "user_data: it begins with a line #cloud-config"),
        ({"user_data": "#cloud-config-archive\n- s3cret"}, "user_data: it begins with"),
        ({"user_data": "#cloud-config\na: [s3cret\n"}, "user_data: no YAML: line 3: "),
        ({"user_data": "#cloud-config\n- s3cret\n"}, "user_data: a mapping of names is needed"),
        ({"network": "version: 3"}, "network: cloud-init's network configuration says version"),
        ({"ssh_keys": ["~/.ssh/id.pub"]}, "ssh_keys.0: a public key is one line"),
        ({"packages": [""]}, "packages.0: "),
        ({"run": [[]]}, "run.0"),
        ({"runcmd": []}, '"runcmd" is not a field of CloudInit'),
    ],
)
def test_a_wrong_cloud_init_is_refused_and_not_quoted(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProxmoxSandboxEnvironmentConfig.model_validate(changed(cloud_init=fields))
    assert f"vms_config.0.cloud_init{'.' if says[0] != chr(34) else ': '}{says}" in friendly(
        caught.value
    )
    for model, data in (
        (CloudInit, fields),
        (VmConfig, changed(cloud_init=fields)["vms_config"][0]),
    ):
        with pytest.raises(ValidationError) as direct:
            model.model_validate(data)
        assert "s3cret" not in friendly(caught.value) + str(caught.value) + str(direct.value)


def test_one_host_name_is_enough() -> None:
    def vm(name: str, text: str) -> VmConfig:
        init = CloudInit(user_data=SecretStr(f"#cloud-config\n{text}\n"))
        return VmConfig(vm_source_config=SOURCE, name=name, cloud_init=init)

    vm("web", "hostname: web")
    vm("web.lan", "{hostname: web, fqdn: web.lan}")
    with pytest.raises(ValidationError, match=r'"web" becomes the hostname, but .* sets "db"'):
        vm("web", "hostname: db")


def closed(**fields: Any) -> dict[str, Any]:
    """FULL with fields of its networks."""
    return changed(sdn_config={"vnet_configs": [{"subnets": [SUBNET]}], **fields})


# What is wrong, and what its error says: the field, the value, what would be right.
MISTAKES: list[tuple[dict[str, Any], list[str]]] = [
    (changed(ram_mb=-5), ["vms_config.0.ram_mb", "greater than 0", "-5"]),
    (changed(vcpus=0), ["vms_config.0.vcpus", "greater than 0"]),
    (changed(vcpus="two"), ["vms_config.0.vcpus", "integer", "'two'"]),
    (changed(name="a b"), ["vms_config.0.name", "DNS name", "'a b'"]),
    (changed(name="-a"), ["vms_config.0.name", "'-a'"]),
    (changed(name="a..b"), ["vms_config.0.name", "'a..b'"]),
    (changed(name="x" * 64), ["vms_config.0.name", "63"]),
    (changed(disk_controller="nvme"), ["disk_controller", "'scsi'", "'ide'", "'nvme'"]),
    (changed(nic_controller="ne2k"), ["nic_controller", "'virtio'", "'e1000'"]),
    (changed(os_type="beos"), ["os_type", "'l26'", "'beos'"]),
    (changed(vm_source_config={}), ["vm_source_config", "exactly one", "built_in", "not none"]),
    (
        changed(vm_source_config={"built_in": "a", "ova": "b"}),
        ["vm_source_config", "exactly one", "not built_in, ova"],
    ),
    (changed(disk_gb=0), ["disk_gb", "greater than or equal to 1"]),
    (changed(uefi_boot=False), ["secure_boot=True", "uefi_boot=True"]),
    (
        changed(extra_proxmox_native_config={"args": ["-s"]}),
        ["extra_proxmox_native_config.args", "string"],
    ),
    ({"vms_config": [{"ramm_mb": 5}]}, ['"ramm_mb" is not a field of VmConfig', '"ram_mb"']),
    ({"vm_config": []}, ['"vm_config" is not a field', '"vms_config"']),
    ({"xyzzy": 1}, ['"xyzzy" is not a field of ProxmoxSandboxEnvironmentConfig']),
    (changed(port=0), ["port", "1", "0"]),
    (changed(port=70000), ["port", "65535", "70000"]),
    (changed(vms_config=[]), ["vms_config"]),
    (changed(is_sandbox=False), ["vms_config", "is_sandbox=True"]),
    (changed(vms_config=FULL["vms_config"] * 2), ["two VMs", "agent.lan"]),
    (changed(nics=[{"vnet_alias": "a", "mac": "52:54"}]), ["nics.0.mac", "six pairs", "52:54"]),
    (changed(nics=[{"vnet_alias": "a", "mac": "53:54:00:00:00:01"}]), ["nics.0.mac", "even"]),
    (changed(nics=[{"vnet_alias": "a", "ipv4": "10.0.0.1"}]), ["nics.0", "needs mac"]),
    (changed(nics=[{"vnet_alias": "a", "mac": "52:54:00:00:00:01", "ipv4": "::1"}]), ["ipv4"]),
    (changed(sdn_config="of"), ["sdn_config", "'auto'", "'of'"]),
    (changed(sdn_config={"vnet_configs": []}), ["vnet_configs", "at least 1"]),
    (changed(sdn_config={"vnet_configs": [{"subnets": [SUBNET]}] * 11}), ["vnet_configs", "10"]),
    (changed(sdn_config={"vnet_configs": [{}]}), ["use_pve_ipam_dnsnmasq=True", "DHCP range"]),
    (
        changed(
            sdn_config={
                "vnet_configs": [{"subnets": [SUBNET]}],
                "use_pve_ipam_dnsnmasq": False,
            }
        ),
        ["use_pve_ipam_dnsnmasq=False", "DHCP ranges"],
    ),
    (
        changed(sdn_config={"vnet_configs": [{"subnets": [{**SUBNET, "gateway": "10.0.0.1"}]}]}),
        ["gateway", "10.0.0.1", "192.168.20.0/24"],
    ),
    (
        changed(sdn_config={"vnet_configs": [{"subnets": [{**SUBNET, "cidr": "192.168.20.7/24"}]}]}),
        ["cidr", "network", "192.168.20.7/24"],
    ),
    (
        changed(
            sdn_config={
                "vnet_configs": [
                    {
                        "subnets": [
                            {
                                **SUBNET,
                                "dhcp_ranges": [{"start": "192.168.20.9", "end": "192.168.20.2"}],
                            }
                        ]
                    }
                ]
            }
        ),
        ["dhcp_ranges", "upwards", "192.168.20.9"],
    ),
    (closed(isolation="shut"), ["isolation", "'closed'", "'open'", "'shut'"]),
    (closed(egress="some"), ["egress", "'all'", "'none'", "'some'"]),
    (closed(egress=[{"cidr": "example.com"}]), ["egress", "cidr", "IPv4 or IPv6", "example.com"]),
    (closed(egress=[{"cidr": "192.0.2.1", "ports": "http"}]), ["egress", "ports", "'http'"]),
    (closed(egress=[{"cidr": "192.0.2.1", "protocol": "icmp"}]), ["protocol", "'udp'", "'icmp'"]),
    (closed(isolation="open", egress="none"), ['isolation="closed"', 'egress="all"']),
    (
        changed(
            sdn_config={
                "vnet_configs": [{"subnets": [{**SUBNET, "snat": False}]}],
                "egress": [{"cidr": "192.0.2.1"}],
            }
        ),
        ["egress", "snat=True"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "says"), MISTAKES, ids=[" ".join(row[1])[:60] for row in MISTAKES]
)
def test_a_mistake_is_named_with_what_would_be_right(data: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        ProxmoxSandboxEnvironmentConfig.model_validate(data)
    for text in says:
        assert text in friendly(caught.value)


def secrets() -> list[BaseModel]:
    return [
        ProxmoxSandboxEnvironmentConfig.model_validate(FULL),
        ProxmoxSandboxEnvironmentConfig(password=SecretStr("hunter2")),
        HttpHeader(name="Authorization", value=SecretStr("hunter2")),
    ]


def test_a_secret_is_in_no_text_of_a_model(caplog: pytest.LogCaptureFixture) -> None:
    for model in secrets():
        logging.getLogger("proxmoxsandbox").warning("%s %r", model, model)
        for text in (repr(model), str(model), f"{model}", model.model_dump_json(), caplog.text):
            assert "hunter2" not in text
        assert "hunter2" not in str(model.model_dump())


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (ProxmoxSandboxEnvironmentConfig, changed(ram_mb=-5)),
        (ProxmoxSandboxEnvironmentConfig, changed(port=0)),
        (ProxmoxSandboxEnvironmentConfig, changed(pasword="hunter2")),
        (ProxmoxSandboxEnvironmentConfig, changed(password=["hunter2"])),
        (ProxmoxSandboxEnvironmentConfig, changed(password={"value": "hunter2"})),
        (ProxmoxSandboxEnvironmentConfig, changed(vms_config=[])),
        (HttpHeader, {"name": "A", "valeu": "hunter2"}),
        (HttpHeader, {"name": "A", "value": ["hunter2"]}),
        (HttpHeader, {"name": 3, "value": "hunter2"}),
    ],
)
def test_a_secret_is_in_no_error(
    type_: type[BaseModel], data: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValidationError) as caught:
        type_.model_validate(data)
    assert "hunter2" not in str(caught.value) + repr(caught.value) + friendly(caught.value)
    file = tmp_path / "proxmox.json"
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError) as refused:
        load_config(file)
    assert "hunter2" not in str(refused.value)


def test_a_log_of_another_version_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    logged = changed(vga="std", isolated=True)
    logged["vms_config"][0]["depends_on"] = ["a"]
    logged["sdn_config"]["isolated"] = False
    config = ProxmoxSandboxEnvironment.config_deserialize(logged)
    assert config == ProxmoxSandboxEnvironmentConfig.model_validate(FULL)
    assert "depends_on" in caplog.text and "isolated" in caplog.text


YAML = """
sdn_config: null
vms_config:
  - vm_source_config: {built_in: debian13-small}
    nics: []
    ram_mb: 512
"""


def test_files_may_be_yaml_or_json(tmp_path: Path) -> None:
    wanted = ProxmoxSandboxEnvironmentConfig(
        sdn_config=None,
        vms_config=(
            VmConfig(
                vm_source_config=VmSourceConfig(built_in="debian13-small"), nics=(), ram_mb=512
            ),
        ),
    )
    (tmp_path / "proxmox.yaml").write_text(YAML)
    (tmp_path / "proxmox.json").write_text(wanted.model_dump_json())
    (tmp_path / "empty.yaml").write_text("")
    for name in ProxmoxSandboxEnvironment.config_files():
        assert load_config(tmp_path / name) == wanted
    assert load_config(tmp_path / "empty.yaml") == ProxmoxSandboxEnvironmentConfig()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "vms_config: [", ["a.yaml", "line 1"]),
        ("a.json", "{", ["a.json", "line 1"]),
        ("a.yaml", "ram_mb: 5", ["a.yaml", '"ram_mb" is not a field']),
        ("a.yaml", "- 1", ["a.yaml", "dictionary"]),
        ("missing.yaml", None, ["missing.yaml", "No such file"]),
    ],
)
def test_a_bad_file_is_named(name: str, text: str | None, says: list[str], tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as caught:
        load_config(tmp_path / name)
    for part in says:
        assert part in str(caught.value)


def test_every_class_of_the_existing_provider_is_there() -> None:
    for type_ in (SdnConfig, VnetConfig, SubnetConfig, DhcpRange, VmNicConfig, HttpHeader):
        assert getattr(schema, type_.__name__) is type_
        assert type_.model_config["frozen"]
