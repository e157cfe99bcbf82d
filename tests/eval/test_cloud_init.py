"""What `cloud_init` does in a real guest, a Debian with systemd."""

from __future__ import annotations

import os
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

from .conftest import Node, bring_up, take_down

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


def config_of(debian: Path, **fields: Any) -> ProxmoxSandboxEnvironmentConfig:
    source = VmSourceConfig(disk=debian)
    vm = VmConfig(vm_source_config=source, nics=(), name="web.lan", ram_mb=1024, **fields)
    return ProxmoxSandboxEnvironmentConfig(sdn_config=None, vms_config=(vm,))


def said(vm: ProxmoxSandboxEnvironment, command: str) -> str:
    result = anyio.run(vm.exec, ["sh", "-c", command])
    assert result.success, result
    return result.stdout.strip()


def test_a_guest_is_as_its_cloud_init_says_when_the_sample_gets_it(
    node: Node, debian: Path
) -> None:
    init = CloudInit(
        user_data=SecretStr(USER_DATA),
        ssh_keys=(KEY,),
        run=("echo $((20 + 3)) >>/root/ran", ("touch", "/root/a b")),
    )
    config = config_of(debian, cloud_init=init)
    environments = bring_up(config)
    try:
        vm = environments["web.lan"]
        assert said(vm, "hostname; hostname --fqdn") == "web\nweb.lan"
        assert said(vm, "cat /etc/motto") == "ä, first"
        assert said(vm, "cat /root/ran; ls -d /root/a*") == "its own\n23\n/root/a b"
        assert KEY.split()[1] in said(vm, "cat /home/*/.ssh/authorized_keys")
    finally:
        take_down(config, environments)
    (seed,) = (volume for volume in node.media() if "seed" in volume)
    assert "iso/inspect-seed-" in seed


def test_a_command_that_fails_is_the_error_with_cloud_inits_log(node: Node, debian: Path) -> None:
    run = ("echo so far", ("ls", "/no such thing"), "echo not reached")
    with pytest.raises(Exception, match="cloud-init failed") as caught:
        bring_up(config_of(debian, cloud_init=CloudInit(run=run)))
    text = str(caught.value)
    assert text.startswith("vms_config[0].cloud_init of VM ")
    assert "its log: so far" in text and "its log: ls: cannot access '/no such thing'" in text
    assert "not reached" not in text
    assert node.vms() == []
