"""The configuration of an evaluation, as users write it.

All models are frozen and hashable, for Inspect compares and caches configurations. They check what
can be checked offline; the C++ core checks the whole again before anything is created
(`src/sandbox/spec.hpp`). Names and defaults are those of the existing provider.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.networks import IPvAnyAddress, IPvAnyNetwork
from pydantic_core import core_schema

logger = logging.getLogger("proxmoxsandbox")

OsType = Literal[
    "l24", "l26", "other", "solaris", "w2k", "w2k3", "w2k8",
    "win7", "win8", "win10", "win11", "wvista", "wxp",
]  # fmt: skip
"""Proxmox VE's `ostype`; those with a w are Windows guests."""


def _dns_name(name: str) -> str:
    if not re.fullmatch(r"(?!.*\.\.)[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", name):
        raise ValueError(
            "a DNS name has 1..63 letters, digits, - and ., none of the last two at an end"
        )
    return name


def _mac(mac: str) -> str:
    if not re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", mac):
        raise ValueError("a MAC address is six pairs of hexadecimal digits with colons")
    if int(mac[:2], 16) & 1:
        raise ValueError("the first byte of a card's own address is even")
    return mac.upper()


DnsName = Annotated[str, AfterValidator(_dns_name)]
MacAddress = Annotated[str, AfterValidator(_mac)]


class _Model(BaseModel):
    """Frozen, hashable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _know_all_fields(cls, data: Any, info: ValidationInfo) -> Any:
        """Names the nearest field for one that is unknown. From a log, that one is dropped."""
        if not isinstance(data, dict):
            return data
        unknown = [str(key) for key in data if key not in cls.model_fields]
        if unknown and info.context is _FROM_A_LOG:
            names = ", ".join(unknown)
            logger.warning("%s of a logged %s is not known here: dropped", names, cls.__name__)
            return {key: value for key, value in data.items() if key in cls.model_fields}
        for key in unknown:
            near = difflib.get_close_matches(key, cls.model_fields, n=1)
            guess = f'; did you mean "{near[0]}"?' if near else ""
            raise ValueError(f'"{key}" is not a field of {cls.__name__}{guess}')
        return data


_FROM_A_LOG: dict[str, Any] = {"from": "a log"}
"""Context of a validation that must go well for what another version wrote."""


def _is_mask(text: str) -> bool:
    """What stands for a secret in a log."""
    return set(text) == {"*"}


class HttpHeader(_Model):
    """A header that goes with every request to a server."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str
    """For example `X-Forwarded-User`. Proxmox VE's own headers of login can't be replaced."""
    value: SecretStr
    """Hidden in logs and errors."""


class DhcpRange(_Model):
    """Addresses that DHCP gives out, both ends included."""

    start: IPvAnyAddress
    end: IPvAnyAddress

    @model_validator(mode="after")
    def _in_order(self) -> DhcpRange:
        if self.start.version != self.end.version or int(self.start) > int(self.end):
            raise ValueError(f"the range {self.start} - {self.end} does not go upwards")
        return self


class NativeConfig(dict[str, str | int | float | bool]):
    """Options as the API of Proxmox VE names them; hashable, and not to be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        inner = handler(dict[str, bool | int | float | str])
        return core_schema.no_info_after_validator_function(cls, inner)


def _yaml_mapping(text: str) -> dict[Any, Any]:
    """By the library that cloud-init reads it with. The text itself may be secret."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as ex:
        mark = getattr(ex, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(
            f"no YAML: {where}{getattr(ex, 'problem', None) or 'unreadable'}"
        ) from None
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"a mapping of names is needed, not a {type(data).__name__}")
    return data or {}


def _user_data(data: SecretStr, info: ValidationInfo) -> SecretStr:
    text = data.get_secret_value()
    if info.context is _FROM_A_LOG and _is_mask(text):
        return data  # a log must be readable; the core refuses to run it
    if _is_cloud_config(text):
        _yaml_mapping(text)
    elif not re.match(r"#!|content-type:|mime-version:", text, re.IGNORECASE):
        raise ValueError("it begins with a line #cloud-config, with #!, or is a MIME document")
    return data


def _is_cloud_config(text: str) -> bool:
    return text.partition("\n")[0].rstrip() == "#cloud-config"


def _network_config(text: str) -> str:
    data = _yaml_mapping(text)
    if data.get("network", data).get("version") not in (1, 2):
        raise ValueError("cloud-init's network configuration says version: 1 or 2")
    return text


def _ssh_key(key: str) -> str:
    if not re.fullmatch(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]{16,}={0,2}( [^\r\n]*)?", key):
        raise ValueError("a public key is one line: its type, its base64 and perhaps a comment")
    return key


_Text = Annotated[str, Field(min_length=1)]


class CloudInit(_Model):
    """What the guest's own cloud-init does when the VM comes up, before the sample gets it.

    The VM's `name` becomes the hostname. The other fields are added to `user_data`: to its lists of
    the same name (`packages`, `runcmd`, `ssh_authorized_keys`), after what stands there.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    user_data: Annotated[SecretStr, AfterValidator(_user_data)] | None = None
    """As cloud-init takes it: `#cloud-config`, a script that begins with `#!`, or a MIME document.
    Hidden in logs and errors; but what cloud-init prints of it is in the error when it fails."""
    network: Annotated[str, AfterValidator(_network_config)] | None = None
    """cloud-init's network configuration, version 1 or 2, as YAML. None: the guest's own choice."""
    ssh_keys: tuple[Annotated[str, AfterValidator(_ssh_key)], ...] = ()
    """Public keys for the image's default user, as in `authorized_keys`."""
    packages: tuple[_Text, ...] = ()
    """Installed by the guest's package manager, which needs a way to its mirror."""
    run: tuple[_Text | Annotated[tuple[str, ...], Field(min_length=1)], ...] = ()
    """Commands by root, each a text for `sh` or a program with its arguments. The first one that
    fails ends them, and the VM's start with an error."""

    @field_validator("network", mode="before")
    @classmethod
    def _write_network(cls, value: Any) -> Any:
        """In a file it is natural to write it as it is."""
        return json.dumps(value) if isinstance(value, dict) else value

    def _host_name(self) -> str | None:
        """The one that `user_data` sets."""
        text = self.user_data.get_secret_value() if self.user_data else ""
        data = _yaml_mapping(text) if _is_cloud_config(text) else {}
        name = data.get("fqdn") or data.get("hostname")
        return str(name) if name else None


class SubnetConfig(_Model):
    """A subnet of a VNet."""

    cidr: IPvAnyNetwork
    """For example 192.168.20.0/24."""
    gateway: IPvAnyAddress
    """Address of the server in this subnet; the guests' default route."""
    snat: bool
    """Whether guests reach the server's outside by its address."""
    dhcp_ranges: tuple[DhcpRange, ...]
    """What DHCP gives out; () for none."""
    extra_proxmox_native_config: NativeConfig = NativeConfig()
    """Any other option of a subnet, in the words of Proxmox VE's API."""

    @model_validator(mode="after")
    def _inside(self) -> SubnetConfig:
        addresses = [("gateway", self.gateway)]
        for item in self.dhcp_ranges:
            addresses += [("dhcp_ranges", item.start), ("dhcp_ranges", item.end)]
        for field, address in addresses:
            if address not in self.cidr:
                raise ValueError(f"{field}: {address} is not in {self.cidr}")
        return self


class VnetConfig(_Model):
    """A virtual network."""

    alias: str | None = None
    """How VMs name it."""
    subnets: tuple[SubnetConfig, ...] = ()
    """(): a wire without addresses of its own."""
    extra_proxmox_native_config: NativeConfig = NativeConfig()
    """Any other option of a VNet, in the words of Proxmox VE's API: `{"isolate-ports": True}`."""


class Destination(_Model):
    """Somewhere outside that a sample may reach. No names: the server's firewall knows addresses."""

    cidr: IPvAnyNetwork
    """For example 192.0.2.0/24, or one address."""
    ports: Annotated[str, Field(pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$")] | None = None
    """For example 443 or 80,8000-8010: at most 15, a range counts as two. None: everything there,
    whatever the protocol."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """Of the ports."""

    @field_validator("ports", mode="before")
    @classmethod
    def _read_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value


class SdnConfig(_Model):
    """The networks of a sample."""

    vnet_configs: Annotated[tuple[VnetConfig, ...], Field(min_length=1, max_length=10)]
    """The first one is that of VMs that name none."""
    use_pve_ipam_dnsnmasq: bool = True
    """Addresses by Proxmox VE's own IPAM and DHCP. (The spelling is the existing provider's.)"""
    isolation: Literal["closed", "open"] = "closed"
    """Closed: a VM reaches its own VNets and what `egress` says, and only its own VNets reach it.
    Open: whatever the server routes."""
    egress: Literal["all", "none"] | tuple[Destination, ...] = "all"
    """What is outside, for subnets with `snat`. All: the internet, that is no private network, and
    none of the server's own."""
    extra_proxmox_native_config: NativeConfig = NativeConfig()
    """Any other option of the zone, in the words of Proxmox VE's API: `{"mtu": 1400}`."""

    @model_validator(mode="after")
    def _ranges_fit_ipam(self) -> SdnConfig:
        ranges = any(subnet.dhcp_ranges for vnet in self.vnet_configs for subnet in vnet.subnets)
        if self.use_pve_ipam_dnsnmasq and not ranges:
            raise ValueError("use_pve_ipam_dnsnmasq=True needs a DHCP range in a subnet")
        if not self.use_pve_ipam_dnsnmasq and ranges:
            raise ValueError("use_pve_ipam_dnsnmasq=False forbids DHCP ranges")
        return self

    @model_validator(mode="after")
    def _egress_can_be_kept(self) -> SdnConfig:
        if self.isolation == "open" and self.egress != "all":
            raise ValueError(
                'egress limits closed networks only: isolation="closed", or egress="all"'
            )
        way_out = any(subnet.snat for vnet in self.vnet_configs for subnet in vnet.subnets)
        if isinstance(self.egress, tuple) and self.egress and not way_out:
            raise ValueError("egress: no subnet has snat=True, so nothing outside can be reached")
        return self


class VmNicConfig(_Model):
    """A network card."""

    vnet_alias: str
    """The network's alias, in `sdn_config` or on the server."""
    mac: MacAddress | None = None
    """None: the server chooses."""
    ipv4: IPv4Address | None = None
    """A DHCP reservation; needs `mac`."""

    @model_validator(mode="after")
    def _reservation_needs_mac(self) -> VmNicConfig:
        if self.ipv4 is not None and self.mac is None:
            raise ValueError(f"ipv4: {self.ipv4} is a reservation and needs mac")
        return self


ImageUrl = Annotated[str, Field(pattern=r"^https?://")]
"""A file in the web."""


IsoVolume = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]*:iso/[^/]+$")]
"""An ISO image on the server: `local:iso/debian.iso`."""


class VmSourceConfig(_Model):
    """Where a VM's disk comes from: exactly one field is set, besides `checksum`."""

    built_in: str | None = None
    """Name of an image that the provider knows, for example `debian13-small`."""
    ova: ImageUrl | Path | None = None
    """An appliance: on this machine an OVA, or an .ovf with its disks beside it; in the web an OVA.
    What `VmConfig` leaves out (memory, processors, firmware, cards, ...) is as it says."""
    disk: ImageUrl | Path | None = None
    """A disk image on this machine or in the web: qcow2, raw, VMDK, VHDX, VDI or VHD, also as .gz,
    .xz, .zst or .bz2."""
    iso: ImageUrl | IsoVolume | Path | None = None
    """What the VM boots from, before an empty disk of `disk_gb` (32): an ISO image on this machine,
    in the web, or on the server (`local:iso/NAME`). The guest agent is a live system's own."""
    checksum: str | None = None
    """What the file of `ova`, `disk` or `iso` must have: `sha256:HEX` or `sha512:HEX`. A URL should have
    one: the server downloads the file itself then. Without one the log says it."""
    existing_vm_template_tag: str | None = None
    """Tag of a template VM on the server."""
    existing_backup_name: str | None = None
    """A vzdump archive on the server."""

    @model_validator(mode="after")
    def _exactly_one(self) -> VmSourceConfig:
        sources = [name for name in type(self).model_fields if name != "checksum"]
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            named = ", ".join(given) or "none"
            raise ValueError(f"exactly one of {', '.join(sources)} is needed, not {named}")
        if self.checksum is not None and given[0] not in ("ova", "disk", "iso"):
            raise ValueError(f"checksum: only ova, disk and iso have one, not {given[0]}")
        return self


class VmConfig(_Model):
    """A VM of a sample."""

    model_config = ConfigDict(hide_input_in_errors=True)

    vm_source_config: VmSourceConfig
    """Where its disk comes from."""
    name: DnsName | None = None
    """Shown in the Proxmox UI; the sandbox's name in Inspect."""
    ram_mb: Annotated[int, Field(gt=0)] = 2048
    """Memory in MiB."""
    vcpus: Annotated[int, Field(gt=0)] = 2
    """Processors."""
    nics: tuple[VmNicConfig, ...] | None = None
    """None: the first VNet (a template by tag keeps its own cards). (): no network."""
    is_sandbox: bool = True
    """Handed to Inspect; needs the guest agent."""
    uefi_boot: bool = False
    """OVMF and an EFI disk instead of SeaBIOS."""
    disk_controller: Literal["scsi", "ide"] | None = None
    """None: as an OVA says, else scsi."""
    nic_controller: Literal["virtio", "e1000", "e1000e", "vmxnet3", "rtl8139", "pcnet"] | None = (
        None
    )
    """None: as an OVA says, else virtio."""
    firewall: bool = False
    """Isolates the VM in networks that are not closed as well: it reaches their own subnets and the
    internet, nothing else that is private, and only their subnets reach it."""
    os_type: OsType = "l26"
    """What the guest is, in Proxmox VE's words."""
    cpu: str | None = None
    """QEMU's CPU model. None: as the template has it."""
    await_before_next_vm: bool = False
    """Later VMs are created when this one is up."""
    user: Annotated[str, Field(min_length=1)] | None = None
    """Default user of commands and owner of files. None: root, or SYSTEM in a Windows guest."""
    disk_gb: Annotated[int, Field(ge=1, le=131072)] | None = None
    """Size in GiB that the disk it boots from grows to. None: as the source has it."""
    full_clone: bool = False
    """A copy of the template's disks of its own, instead of a linked clone: slower to make."""
    tpm: bool = False
    """A TPM 2.0 of its own."""
    secure_boot: bool = False
    """Secure boot with Microsoft's keys; needs `uefi_boot`."""
    machine: str | None = None
    """QEMU's machine: `pc`, `q35`, or one of these with a version. None: as the server has it."""
    pool: str | None = None
    """The server's resource pool that the VM is made in."""
    storage: str | None = None
    """Storage of its disks. None: the instance's `image_storage`."""
    cloud_init: CloudInit | None = None
    """For an image with cloud-init: what that does before the sample gets the VM."""
    extra_proxmox_native_config: NativeConfig = NativeConfig()
    """Any other option of a VM, in the words of Proxmox VE's API:
    `{"balloon": 0, "vga": "qxl"}`. The server checks them before anything is made."""

    @model_validator(mode="after")
    def _secure_boot_needs_uefi(self) -> VmConfig:
        from_ova = self.vm_source_config.ova is not None and not self._says("uefi_boot")
        if self.secure_boot and not self.uefi_boot and not from_ova:
            raise ValueError("secure_boot=True needs uefi_boot=True")
        return self

    @model_validator(mode="after")
    def _one_host_name(self) -> VmConfig:
        other = self.cloud_init._host_name() if self.cloud_init else None
        if self.name and other and other != self.name:
            raise ValueError(
                f'name: "{self.name}" becomes the hostname, but cloud_init.user_data sets "{other}"'
            )
        return self

    def _says(self, field: str) -> bool:
        return field in self.model_fields_set

    @model_serializer(mode="wrap")
    def _leave_to_the_ova(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is not set stays so in a log and for the core, for there an OVA has its say."""
        data: dict[str, Any] = handler(self)
        if self.vm_source_config.ova is None:
            return data
        return {key: value for key, value in data.items() if self._says(key)}


class ProxmoxSandboxEnvironmentConfig(_Model):
    """The world of a sample.

    `host` to `image_storage` are connection data for this sample; what is None comes from the
    environment. A password never reaches a log.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    instance_pool_id: str = "default"
    """The pool of servers that serves this sample."""
    host: str | None = None
    """Name or address of the server."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of its API."""
    user: str | None = None
    """Who logs in, without the realm."""
    user_realm: str | None = None
    """`pam`, `pve`, ..."""
    password: SecretStr | None = None
    """Of the user; wins over a token of the environment."""
    node: str | None = None
    """Name of the Proxmox VE node."""
    verify_tls: bool | None = None
    """False: any certificate will do."""
    image_storage: str | None = None
    """Storage of the VMs' disks."""
    sdn_config: SdnConfig | Literal["auto"] | None = "auto"
    """`auto`: one VNet of its own; None: only existing VNets. `none` in a file means None, too."""
    vms_config: Annotated[tuple[VmConfig, ...], Field(min_length=1)] = (
        VmConfig(vm_source_config=VmSourceConfig(built_in="ubuntu24.04")),
    )
    """The sample's VMs; the first one with `is_sandbox` is Inspect's default sandbox."""
    verify_isolation: bool = False
    """True: what closed networks promise is tried from inside a guest before the first sample goes
    on, and a server whose firewall is off is an error, not a warning."""

    @model_validator(mode="after")
    def _usable(self) -> ProxmoxSandboxEnvironmentConfig:
        if not any(vm.is_sandbox for vm in self.vms_config):
            raise ValueError("vms_config: no VM has is_sandbox=True; one at least is needed")
        names = [vm.name for vm in self.vms_config if vm.name is not None]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'vms_config: two VMs have the name "{name}"')
        return self

    @field_validator("sdn_config", mode="before")
    @classmethod
    def _read_none(cls, value: Any) -> Any:
        return None if value == "none" else value

    @model_serializer(mode="wrap")
    def _write_none(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Inspect's logs leave out what is None; `sdn_config` would then be read as `auto`."""
        data: dict[str, Any] = handler(self)
        if info.exclude_none and self.sdn_config is None:
            data["sdn_config"] = "none"
        return data

    def to_spec(self) -> str:
        """The JSON for the C++ core. Holds what is secret: not for a log."""
        spec = self.model_dump(mode="json")
        spec["password"] = self.password.get_secret_value() if self.password else None
        for vm, data in zip(self.vms_config, spec["vms_config"], strict=True):
            if vm.cloud_init and vm.cloud_init.user_data:
                data["cloud_init"]["user_data"] = vm.cloud_init.user_data.get_secret_value()
        return json.dumps(spec)


CONFIG_FILES = ("proxmox.yaml", "proxmox.json")
"""Looked for beside a task that names no configuration."""


def friendly(error: ValidationError) -> str:
    """One line for each mistake: the field, what would be right, and the value unless secret."""
    lines = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ")
        secret = bool(item["loc"]) and item["loc"][-1] in _SECRETS
        if isinstance(item["input"], str | int | float) and not secret:
            text += f", not {item['input']!r}"
        lines.append(f"{where}: {text}" if where else text)
    return "\n".join(lines)


_SECRETS = ("password", "value", "user_data")


def load_config(path: str | Path) -> ProxmoxSandboxEnvironmentConfig:
    """Reads a configuration from a JSON or YAML file.

    Raises:
        ValueError: The file can't be read or says something wrong; the text names file and field.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as ex:
        raise ValueError(
            f"sandbox configuration {file}: {ex.strerror}; name a JSON or YAML file"
        ) from ex
    try:
        # JSON is YAML, but its own parser says better what is wrong.
        data = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        _find_images_beside(file, data)
        return ProxmoxSandboxEnvironmentConfig.model_validate(data if data is not None else {})
    except ValidationError as ex:
        raise ValueError(f"sandbox configuration {file}:\n{friendly(ex)}") from None
    except (json.JSONDecodeError, yaml.YAMLError) as ex:
        raise ValueError(f"sandbox configuration {file}: {ex}") from None


def _find_images_beside(file: Path, data: Any) -> None:
    """Images with a relative name lie beside the file that names them."""
    vms = data.get("vms_config") if isinstance(data, dict) else None
    for vm in vms if isinstance(vms, list) else []:
        source = vm.get("vm_source_config") if isinstance(vm, dict) else None
        for key in ("ova", "disk", "iso"):
            if not isinstance(source, dict) or not isinstance(source.get(key), str):
                continue
            if not re.match(r"https?://|[^/]+:iso/", source[key]):
                source[key] = str(file.parent / source[key])


def read_logged_config(data: dict[str, Any]) -> ProxmoxSandboxEnvironmentConfig:
    """A configuration as a log holds it: fields that this version doesn't know are dropped, and so
    is the mask that stands for a password."""
    password = data.get("password")
    if isinstance(password, str) and _is_mask(password):
        data = {**data, "password": None}
    return ProxmoxSandboxEnvironmentConfig.model_validate(data, context=_FROM_A_LOG)
