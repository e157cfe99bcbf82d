"""`proxmox-sandbox image`: what it prints where, and its exit codes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND, CommandLine

OVF = Path(__file__).parent.parent / "image" / "ovf" / "virtualbox.ovf"
DISK = "attacker-disk001.vmdk"


def inspect(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "image", "inspect", *map(str, words)], capture_output=True, text=True, timeout=60
    )


def manifest_line(path: Path) -> str:
    return f"SHA256({path.name})= {hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """An OVA of VirtualBox's form, whole and right."""
    ovf, disk, manifest = (tmp_path / name for name in ("box.ovf", DISK, "box.mf"))
    ovf.write_bytes(OVF.read_bytes())
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=streamOptimized", disk, "64M"],
        check=True,
    )
    manifest.write_text(manifest_line(ovf) + manifest_line(disk))
    with tarfile.open(tmp_path / "box.ova", "w") as tar:
        for path in (ovf, disk, manifest):
            tar.add(path, path.name)
    return tmp_path / "box.ova"


def test_an_ova_is_shown_as_the_vm_that_it_becomes(box: Path) -> None:
    done = inspect(box)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "manifest       2 sums, all right" in lines
    for option in ("memory: 4096", "cores: 2", "bios: ovmf", "ostype: win10", "net0: pcnet"):
        assert f"  {option}" in lines


def test_json_has_the_sums_of_file_and_disk(box: Path) -> None:
    shown = json.loads(inspect(box, "--json").stdout)
    assert shown["sha256"] == hashlib.sha256(box.read_bytes()).hexdigest()
    disk = shown["disks"][0]
    data = box.read_bytes()[disk["offset_bytes"] :][: disk["size_bytes"]]
    assert disk["sha256"] == hashlib.sha256(data).hexdigest()
    assert (disk["slot"], disk["format"], disk["capacity_bytes"]) == ("sata0", "vmdk", 64 << 20)
    assert (shown["manifest_checked"], shown["warnings"]) == (True, [])


def test_without_checksums_no_sum_is_made(box: Path) -> None:
    shown = json.loads(inspect(box, "--json", "--no-checksums").stdout)
    assert (shown["sha256"], shown["manifest_checked"]) == (None, False)


def test_a_warning_goes_to_stderr(box: Path) -> None:
    box.with_name("box.mf").unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", box.with_name(DISK), "32M"])
    done = inspect(box.with_name("box.ovf"))
    assert done.returncode == 0
    assert "warning: Disk attacker-disk001.vmdk has 33554432 bytes by its own header" in done.stderr
    assert "warning:" not in done.stdout


def test_a_damaged_ova_ends_with_2_and_says_where(box: Path) -> None:
    damaged = bytearray(box.read_bytes())
    shown = json.loads(inspect(box, "--json").stdout)
    damaged[shown["disks"][0]["offset_bytes"] + 40000] ^= 1
    box.write_bytes(damaged)
    done = inspect(box)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"box.ova: member {DISK} at offset" in done.stderr


def test_a_disk_image_is_shown(tmp_path: Path) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", image, "1G"], check=True)
    shown = json.loads(inspect(image, "--json").stdout)
    assert (shown["type"], shown["format"], shown["capacity_bytes"]) == ("disk", "vhdx", 1 << 30)
    assert shown["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert "1 GiB (1073741824 bytes)" in inspect(image).stdout


def test_a_disk_that_needs_another_file_is_refused(tmp_path: Path) -> None:
    base, over = tmp_path / "base", tmp_path / "over"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "1M"], check=True)
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, over], check=True
    )
    done = inspect(over)
    assert done.returncode == 2
    assert "backing file" in done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "router.raw"
    path.write_bytes(b"x" * 512)
    return path


def templates(line: CommandLine) -> list[dict[str, Any]]:
    done = line.run("image", "ls", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["templates"]
    return found


def test_a_template_is_baked_listed_and_pruned(line: CommandLine, disk: Path) -> None:
    done = line.run("image", "bake", str(disk))
    assert done.returncode == 0, done.stderr
    assert "making a template of router.raw" in done.stderr
    (made,) = templates(line)
    assert (made["name"], made["source"]) == ("inspect-router", "disk-router-512")
    assert "unused" in line.run("image", "ls").stdout
    kept = line.run("image", "prune")
    assert kept.returncode == 0 and "add --yes" in kept.stderr
    assert len(templates(line)) == 1
    assert line.run("image", "prune", "--yes").returncode == 0
    assert templates(line) == []


def test_a_template_with_clones_stays(line: CommandLine, disk: Path) -> None:
    line.run("image", "bake", str(disk))
    (made,) = templates(line)
    line.ask(f"/nodes/proxmox/qemu/{made['vmid']}/clone", {"newid": 300})
    done = line.run("image", "rm", str(made["vmid"]), "--yes")
    assert done.returncode == 1
    assert "VM 300 is made of it" in done.stdout
    assert len(templates(line)) == 1


@pytest.fixture
def real_line(tmp_path: Path) -> Iterator[CommandLine]:
    """Of a node whose disks are whole."""
    made = CommandLine(tmp_path)
    made.node.start()
    yield made
    made.node.stop()


def test_a_template_is_exported_as_the_ova_that_it_came_from(
    real_line: CommandLine, tmp_path: Path
) -> None:
    line = real_line
    disk, ova = tmp_path / "router.qcow2", tmp_path / "router.ova"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "8M"], check=True)
    assert line.run("image", "bake", str(disk), "--uefi").returncode == 0
    (made,) = templates(line)
    path = f"/nodes/proxmox/qemu/{made['vmid']}/config"
    line.ask(path, {"net0": "virtio,bridge=vmbr0", "net3": "virtio,bridge=vmbr0"}, "PUT")
    done = line.run("image", "export", str(made["vmid"]), "--to", str(ova))
    assert done.returncode == 0, done.stderr
    assert "left out: efidisk0\nleft out: net3\n" in done.stderr
    shown = json.loads(inspect(ova, "--json").stdout)
    assert (shown["name"], shown["firmware"], shown["vcpus"]) == ("inspect-router", "efi", 2)
    assert [disk["capacity_bytes"] for disk in shown["disks"]] == [8 << 20]


def test_a_name_that_nobody_has_is_told(line: CommandLine) -> None:
    done = line.run("image", "rm", "4711", "--yes")
    assert done.returncode == 2
    assert 'name: is "4711"; no image of ours has it' in done.stderr


def test_a_built_ins_file_is_put_where_it_is_looked_for(line: CommandLine, disk: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(line.home), "PROXMOX_SANDBOX_IMAGES": ""}
    done = subprocess.run(
        [COMMAND, "image", "add", "debian13-small", "--from", disk],
        env={**line.environment(), **cache},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    put = Path(done.stdout.strip())
    assert put == line.home / "proxmox-sandbox" / "images" / "debian13-small.qcow2"
    assert put.read_bytes() == disk.read_bytes()


def test_an_ova_is_made_of_any_disk_and_not_over_another_file(tmp_path: Path, disk: Path) -> None:
    made = tmp_path / "made.ova"
    words = [COMMAND, "image", "to-ova", disk, "-o", made, "--memory", "1024", "--uefi"]
    assert subprocess.run(words, capture_output=True).returncode == 0
    shown = json.loads(inspect(made, "--json").stdout)
    assert (shown["memory_mib"], shown["firmware"], shown["manifest_checked"]) == (
        1024,
        "efi",
        True,
    )
    again = subprocess.run(words, capture_output=True, text=True)
    assert again.returncode == 2 and "it is there already" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.ova", "router.raw"]
