"""What a VM may be made of, in real guests: appliances, disk images, backups."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

from .conftest import COMMAND, Node, bring_up, take_down

GIB = 1 << 30


@pytest.fixture(scope="module")
def image() -> Path:
    return Path(os.environ["PROXMOX_SANDBOX_IMAGES"].split(":")[0]) / "debian13-small.qcow2"


@pytest.fixture(scope="module")
def ova(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ova") / "box.ova"
    words = ["--uefi", "--memory", "640", "--cores", "1", "--nic", "virtio"]
    subprocess.run([COMMAND, "image", "to-ova", image, "-o", made, *words], check=True)
    return made


@pytest.fixture(scope="module")
def disk(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("disk") / "box.qcow2.gz"
    with image.open("rb") as source, gzip.open(made, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return made


def one_vm(source: dict[str, Any], **fields: Any) -> ProxmoxSandboxEnvironmentConfig:
    vm = VmConfig(vm_source_config=VmSourceConfig(**source), nics=(), **fields)
    return ProxmoxSandboxEnvironmentConfig(sdn_config=None, vms_config=(vm,))


def said(vm: ProxmoxSandboxEnvironment, command: str) -> str:
    async def work() -> str:
        result = await vm.exec(["sh", "-c", command])
        assert result.success, result
        return result.stdout.strip()

    return anyio.run(work)


def test_an_ova_becomes_the_vm_that_it_says(node: Node, ova: Path) -> None:
    config = one_vm({"ova": ova})
    environments = bring_up(config)
    try:
        vm = environments["default"]
        assert said(vm, "test -d /sys/firmware/efi && echo efi") == "efi"
        assert said(vm, "nproc") == "1"
        kib = int(said(vm, "awk '/MemTotal/ {print $2}' /proc/meminfo"))
        assert 500 << 10 < kib < 640 << 10
    finally:
        take_down(config, environments)


@pytest.fixture(scope="module")
def grown(
    node: Node, disk: Path
) -> Iterator[tuple[ProxmoxSandboxEnvironmentConfig, dict[str, Any]]]:
    config = one_vm({"disk": disk}, ram_mb=512, disk_gb=4)
    environments = bring_up(config)
    yield config, environments
    take_down(config, environments)


def test_a_compressed_disk_image_boots_and_its_disk_grows(
    grown: tuple[ProxmoxSandboxEnvironmentConfig, dict[str, Any]],
) -> None:
    vm = grown[1]["default"]
    assert int(said(vm, "cat /sys/block/sda/size")) * 512 == 4 * GIB


def test_a_backup_of_a_running_vm_becomes_a_vm(
    node: Node, grown: tuple[ProxmoxSandboxEnvironmentConfig, dict[str, Any]]
) -> None:
    vm = grown[1]["default"]
    said(vm, "echo kept >/root/mark && sync")
    path = f"/api2/json/nodes/{node.variables['PROXMOX_NODE']}"
    upid = node.ask(f"{path}/vzdump", {"vmid": vm.vm_id, "storage": "local", "compress": "zstd"})
    for _ in range(600):
        status = node.ask(f"{path}/tasks/{upid}/status")
        if status["status"] == "stopped":
            break
        time.sleep(0.2)
    assert status["exitstatus"] == "OK"
    (backup,) = node.ask(f"{path}/storage/local/content?content=backup")
    config = one_vm({"existing_backup_name": backup["volid"].split("/")[-1]}, ram_mb=512)
    environments = bring_up(config)
    try:
        assert said(environments["default"], "cat /root/mark") == "kept"
    finally:
        take_down(config, environments)
