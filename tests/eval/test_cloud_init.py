"""What `cloud_init` does in a real guest, a Debian with systemd."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import (
    CloudInit,
    ProxmoxSandboxEnvironmentConfig,
    VmConfig,
    VmSourceConfig,
)

from .conftest import COMMAND, Node, prepare, take_down

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA alice"
USER_DATA = """#cloud-config
write_files: [{path: /etc/motto, content: "ä, first\\n"}]
runcmd: [echo its own >>/root/ran]
"""


@pytest.fixture(scope="module")
def debian() -> Path:
    folders = os.environ["PROXMOX_SANDBOX_IMAGES"].split(":")
    files = [Path(folder) / "debian13.qcow2" for folder in folders]
    return next(file for file in files if file.exists())


@pytest.fixture(scope="module")
def appliance(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same Debian on a SATA disk, for UEFI."""
    ova = tmp_path_factory.mktemp("ova") / "debian.ova"
    words = ["image", "to-ova", str(debian), "-o", str(ova), "--uefi", "--disk-controller", "sata"]
    subprocess.run([COMMAND, *words], check=True)
    return ova


def config_of(
    source: VmSourceConfig, init: CloudInit, **more: Any
) -> ProxmoxSandboxEnvironmentConfig:
    vm = VmConfig(
        vm_source_config=source,
        name="web.lan",
        ram_mb=768,
        nics=(),
        cloud_init=init,
        **more,
    )
    return ProxmoxSandboxEnvironmentConfig(sdn_config=None, vms_config=(vm,))


Starts = tuple[ProxmoxSandboxEnvironment, str]


@pytest.fixture(scope="module")
def starts(node: Node, debian: Path, appliance: Path) -> Iterator[Starts]:
    """Of two guests side by side, for they take their time: one that gets through, and the error of
    one that does not."""
    good = config_of(
        VmSourceConfig(disk=debian),
        CloudInit(
            user_data=SecretStr(USER_DATA),
            ssh_keys=(KEY,),
            run=("echo $((20 + 3)) >>/root/ran", ("touch", "/root/a b")),
        ),
        disk_controller="ide",
    )
    bad = config_of(
        VmSourceConfig(ova=appliance),
        CloudInit(run=("echo so far", ("ls", "/no such thing"), "echo not reached")),
    )
    made: dict[str, Any] = {}
    errors: list[str] = []

    async def start(config: ProxmoxSandboxEnvironmentConfig) -> None:
        try:
            made.update(await ProxmoxSandboxEnvironment.sample_init("tests", config, {}))
        except Exception as ex:
            errors.append(str(ex))

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(start, good)
            group.start_soon(start, bad)

    prepare(good)
    prepare(bad)
    anyio.run(work)
    assert len(errors) == 1 and made, errors
    yield made["web.lan"], errors[0]
    take_down(good, made)


def said(vm: ProxmoxSandboxEnvironment, command: str) -> str:
    result = anyio.run(vm.exec, ["sh", "-c", command])
    assert result.success, result
    return result.stdout.strip()


def test_a_guest_is_as_its_cloud_init_says_when_the_sample_gets_it(starts: Starts) -> None:
    vm = starts[0]
    assert said(vm, "hostname; hostname --fqdn") == "web\nweb.lan"
    assert said(vm, "cat /etc/motto") == "ä, first"
    assert said(vm, "cat /root/ran; ls -d /root/a*") == "its own\n23\n/root/a b"
    assert KEY.split()[1] in said(vm, "cat /home/*/.ssh/authorized_keys")


def test_a_command_that_fails_is_the_error_with_cloud_inits_log(node: Node, starts: Starts) -> None:
    text = starts[1]
    assert text.startswith("vms_config[0].cloud_init of VM ")
    assert "cloud-init failed: status: error" in text
    assert "its log: so far" in text and "its log: ls: cannot access '/no such thing'" in text
    assert "not reached" not in text
    assert [vm["name"] for vm in node.vms()].count("web.lan") == 1, "it is gone"


def test_the_appliance_booted_from_its_sata_disk_by_uefi(node: Node, starts: Starts) -> None:
    path = f"/api2/json/nodes/{node.variables['PROXMOX_NODE']}/qemu"
    (made,) = (vm for vm in node.ask(path) if vm["name"] == "inspect-debian")
    options = node.ask(f"{path}/{made['vmid']}/config")
    assert (options["bios"], options["boot"]) == ("ovmf", "order=sata0")
    assert "its log: so far" in starts[1], "its guest ran"
