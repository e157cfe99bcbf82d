#!/usr/bin/env python3
"""Boots an image under QEMU and checks what its README promises.

    test.py IMAGE [--quick | --all]

--quick: debian13-small one boot (BIOS, virtio-scsi), debian13 three that have each firmware, bus and
card once. --all: of debian13 every combination of them, twelve boots.

Only the standard library. Prints a line for each check and ends with `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOOT_LIMIT = 120.0  # seconds; a loaded machine without KVM takes its time

BUSES = {
    "virtio-scsi": ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk"],
    "virtio-blk": ["-device", "virtio-blk-pci,drive=disk"],
    # IDE on pc, AHCI on q35.
    "ide": ["-device", "ide-hd,drive=disk"],
    "sata": ["-device", "ide-hd,drive=disk"],
}
CARDS = {"virtio": "virtio-net-pci", "e1000": "e1000"}

# machine, firmware, bus, card
Variant = tuple[str, str, str, str]

SMALL: list[Variant] = [
    ("pc", "bios", "virtio-scsi", ""),
    ("q35", "bios", "virtio-blk", ""),
    ("pc", "bios", "ide", ""),
    ("q35", "uefi", "virtio-scsi", ""),
]
CLOUD: list[Variant] = [
    ("pc", "bios", "virtio-scsi", "e1000"),
    ("q35", "uefi", "sata", "virtio"),
    ("pc", "bios", "ide", "virtio"),
]
CLOUD_ALL: list[Variant] = [
    ("q35" if bus == "sata" else "pc", firmware, bus, card)
    for firmware in ("bios", "uefi")
    for bus in ("virtio-scsi", "ide", "sata")
    for card in CARDS
]


class Guest:
    """One booted VM and its agent."""

    def __init__(self, image: Path, folder: Path, variant: Variant) -> None:
        machine, firmware, bus, card = variant
        disk = BUSES[bus]
        overlay = folder / "disk.qcow2"
        overlay.unlink(missing_ok=True)
        subprocess.run(
            [
                "qemu-img",
                "create",
                "-q",
                "-f",
                "qcow2",
                "-F",
                "qcow2",
                "-b",
                image.resolve(),
                overlay,
            ],
            check=True,
        )
        agent = folder / "agent"
        agent.unlink(missing_ok=True)
        command = [
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max,la57=off",
            "-machine",
            machine,
        ]
        command += ["-smp", "2", "-m", "512", "-nodefaults", "-display", "none", "-no-user-config"]
        command += ["-drive", f"file={overlay},if=none,id=disk,cache=unsafe", *disk]
        command += [
            "-device",
            "virtio-serial-pci",
            "-chardev",
            f"socket,id=agent,path={agent},server=on,wait=off",
        ]
        command += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        command += ["-device", "virtio-rng-pci", "-serial", f"file:{folder / 'console'}"]
        if bus == "virtio-scsi":
            command += ["-device", "scsi-cd,id=cd"]
        if card:
            command += ["-netdev", "user,id=net", "-device", f"{CARDS[card]},netdev=net"]
        if firmware == "uefi":
            variables = folder / "vars.fd"
            variables.write_bytes(Path("/usr/share/OVMF/OVMF_VARS_4M.fd").read_bytes())
            command += [
                "-drive",
                "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
            ]
            command += ["-drive", f"if=pflash,format=raw,file={variables}"]
        self.started = time.monotonic()
        self.process = subprocess.Popen(command)
        self.socket = self._connect(agent)
        self.answers = self.socket.makefile("rb")
        self.seconds_to_agent = self._synchronise()

    def _connect(self, path: Path) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(str(path))
                return connection
            except OSError:
                if time.monotonic() - self.started > 10:
                    raise
                time.sleep(0.02)

    def _synchronise(self) -> float:
        self.socket.settimeout(BOOT_LIMIT)
        # Waits in the port until the agent opens it.
        self.socket.sendall(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 4711}}\n')
        while b"4711" not in self.answers.readline():
            pass
        return time.monotonic() - self.started

    def call(self, name: str, **arguments: object) -> object:
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"]["desc"])
        return answer["return"]

    def sh(self, script: str) -> str:
        started = self.call(
            "guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True}
        )
        while True:
            status = self.call("guest-exec-status", pid=started["pid"])  # type: ignore[index]
            if status["exited"]:  # type: ignore[index]
                return base64.b64decode(status.get("out-data", "")).decode().strip()  # type: ignore[attr-defined]
            time.sleep(0.02)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


# name, shell text, what it prints
Check = tuple[str, str, str]
SMALL_CHECKS: list[Check] = [
    ("root has uid 0 and all its groups", "id -u", "0"),
    ("the user exists with a home of its own", "stat -c '%U %a' /home/user", "user 700"),
    ("/var/tmp belongs to root and is sticky", "stat -c '%u %a' /var/tmp /tmp", "0 1777\n0 1777"),
    ("/run is in memory", "stat -f -c %T /run", "tmpfs"),
    (
        "/dev/fd and the standard streams exist",
        "ls -d /dev/fd /dev/stdin /dev/stdout /dev/stderr | wc -l",
        "4",
    ),
    (
        "bash and python3 run",
        "bash -lc 'python3 -c \"import json, asyncio, sqlite3; print(1)\"'",
        "1",
    ),
    (
        "the tools of Inspect's checks are in the system directories",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin; for t in stat id mkdir chmod cat tee rm ln find wc which test tar ps "
        "grep awk getent setsid setpriv su runuser fallocate adduser userdel gzip script tty mkfifo sha256sum; "
        "do command -v $t >/dev/null || echo $t; done",
        "",
    ),
    ("setpriv changes users", "setpriv --reuid=user --regid=user --init-groups id -un", "user"),
    (
        "a user can be added and removed",
        "adduser --comment x --disabled-password t >/dev/null 2>&1; id -un t; userdel -r t 2>/dev/null",
        "t",
    ),
    (
        "there are 700 MB of free disk",
        "[ $(df -m --output=avail / | tail -1) -ge 700 ] && echo yes",
        "yes",
    ),
    (
        "the machine id is made at boot",
        "wc -c </etc/machine-id; ls /etc/ssh/ssh_host* 2>/dev/null",
        "33",
    ),
    ("only root reads CD-ROM drives", "modprobe sr_mod; sleep 1; stat -c %a /dev/sr0", "600"),
    ("the loopback card is up", "sleep 1; cat /sys/class/net/lo/operstate", "unknown"),
    (
        "the programs for networks are there",
        "for t in ip ping arping traceroute nc wget httpd nft sysctl udhcpc udhcpc6 udhcpd dumpleases; "
        "do command -v $t >/dev/null || echo $t; done",
        "",
    ),
    (
        "an ordinary user may ping",
        "su user -c 'ping -q -c 1 127.0.0.1 >/dev/null && echo yes'",
        "yes",
    ),
    (
        "a page is served and fetched",
        "mkdir /tmp/www; echo hello >/tmp/www/page; httpd -p 127.0.0.1:8000 -h /tmp/www; "
        "wget -q -O - http://127.0.0.1:8000/page",
        "hello",
    ),
    ("no netfilter module is loaded at boot", "lsmod | grep -c ^nf", "0"),
    (
        "a rule of NAT loads what it needs",
        "nft 'add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; "
        "add rule ip t c masquerade'; nft list table ip t | grep -c masquerade",
        "1",
    ),
]


TOOLS = (
    "bash python3 curl sudo tar gzip xz ps ip ping setpriv su runuser script ssh-keygen growpart "
    "cloud-init stat mkfifo sha256sum adduser userdel getent setsid"
)
CLOUD_CHECKS: list[Check] = [
    ("root has uid 0", "id -u", "0"),
    ("cloud-init stays off without a seed", "cloud-init status", "status: disabled"),
    ("the machine id is made at boot", "wc -c </etc/machine-id", "33"),
    ("it has no SSH host keys of the build", "ls /etc/ssh/ssh_host* 2>/dev/null", ""),
    (
        "the tools of Inspect and of first starts are there",
        f"for t in {TOOLS}; do command -v $t >/dev/null || echo $t; done",
        "",
    ),
    ("/tmp is no memory", "stat -f -c %T /tmp", "ext2/ext3"),
    ("the kernel has VMGENID", "modinfo -F description vmgenid >/dev/null 2>&1 && echo yes", "yes"),
]
# Of each variant with a card: QEMU's own network gives this address.
ADDRESS: Check = (
    "its card gets an address",
    "for i in $(seq 240); do ip -br address | grep -qo 10.0.2.15 && echo yes && break; sleep 0.5; done",
    "yes",
)


class Report:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def line(self, name: str, fine: bool, detail: str = "") -> None:
        self.passed += fine
        self.failed += not fine
        print(f"{'ok  ' if fine else 'FAIL'} {name}{': ' + detail if detail else ''}", flush=True)


def check_inside(guest: Guest, checks: list[Check], report: Report) -> None:
    for name, script, wanted in checks:
        seen = guest.sh(script)
        report.line(
            name, seen == wanted, "" if seen == wanted else f"printed {seen!r}, not {wanted!r}"
        )


def check_shutdown(guest: Guest, report: Report) -> None:
    guest.socket.sendall(b'{"execute": "guest-shutdown"}\n')
    try:
        guest.process.wait(60)
        report.line("guest-shutdown powers it off", True)
    except subprocess.TimeoutExpired:
        report.line("guest-shutdown powers it off", False)


def check_variant(
    image: Path, variant: Variant, checks: list[Check], report: Report, last: bool
) -> None:
    name = " ".join(filter(None, variant))
    with tempfile.TemporaryDirectory() as folder:
        guest = None
        try:
            guest = Guest(image, Path(folder), variant)
            report.line(
                f"{name}: the agent answers", True, f"{guest.seconds_to_agent:.1f} s after power-on"
            )
            check_inside(guest, checks, report)
            if last:
                check_shutdown(guest, report)
        except (OSError, RuntimeError, TimeoutError) as error:
            console = Path(folder) / "console"
            text = console.read_text(errors="replace")[-400:] if console.exists() else ""
            report.line(f"{name}: the agent answers", False, f"{error!r}; console: {text!r}")
        finally:
            if guest is not None:
                guest.end()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=Path)
    parser.add_argument("--quick", action="store_true", help="few boots")
    parser.add_argument("--all", action="store_true", help="every combination")
    options = parser.parse_args()
    is_small = options.image.stem.endswith("-small")
    if is_small:
        variants, checks, limit = SMALL[: 1 if options.quick else None], SMALL_CHECKS, 130
    else:
        variants, checks, limit = CLOUD_ALL if options.all else CLOUD, CLOUD_CHECKS, 250
    report = Report()
    size = options.image.stat().st_size / 1e6
    report.line(f"the image is at most {limit} MB", size <= limit, f"{size:.0f} MB")
    for number, variant in enumerate(variants):
        inside = checks if number == 0 else []
        if variant[3]:
            inside = [*inside, ADDRESS]
        check_variant(options.image, variant, inside, report, last=number == 0)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
