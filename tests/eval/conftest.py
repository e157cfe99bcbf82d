"""A local node with real VMs for the tests here, and sandboxes that several tests share."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

COMMAND = (
    os.environ.get("PROXMOX_SANDBOX_COMMAND")
    or shutil.which("proxmox-sandbox", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    or "proxmox-sandbox"
)


class Node:
    """A running local node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.variables: dict[str, str] = {}

    def start(self, port: int = 0, simulated: bool = False, options: Sequence[str] = ()) -> None:
        words = [
            COMMAND,
            "node",
            "--dir",
            str(self.directory),
            "--port",
            str(port),
            "--control",
            "--background",
            *(["--simulated"] if simulated else []),
            *options,
        ]
        lines = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in lines.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.variables[name] = shlex.split(value)[0]

    def environment(self) -> dict[str, str]:
        """Of a process that uses this node."""
        return {**os.environ, **self.variables}

    def stop(self) -> None:
        subprocess.run([COMMAND, "node", "--dir", str(self.directory), "--stop"], check=True)

    def pid(self) -> int:
        return int(json.loads((self.directory / "running.json").read_text())["pid"])

    def ask(self, path: str, data: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """The `data` of a call: GET, or POST when `data` is given, or `method`."""
        v = self.variables
        url = f"https://{v['PROXMOX_HOST']}:{v['PROXMOX_PORT']}{path}"
        headers = {
            "Authorization": f"PVEAPIToken={v['PROXMOX_TOKEN_ID']}={v['PROXMOX_TOKEN_SECRET']}",
        }
        body = None
        if data is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(data).encode()
        request = urllib.request.Request(url, data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, context=ssl._create_unverified_context()) as answer:
            return json.load(answer)["data"]

    def vms(self) -> list[dict[str, Any]]:
        """Those that are no templates."""
        listed = self.ask(f"/api2/json/nodes/{self.variables['PROXMOX_NODE']}/qemu")
        return [vm for vm in listed if not vm.get("template")]

    def status(self, vmid: int) -> Any:
        path = f"/api2/json/nodes/{self.variables['PROXMOX_NODE']}/qemu/{vmid}/status/current"
        return self.ask(path)

    def qemu_of(self, vmid: int) -> int:
        """The process of a running VM."""
        return int(self.status(vmid)["pid"])

    def media(self) -> list[str]:
        path = (
            f"/api2/json/nodes/{self.variables['PROXMOX_NODE']}/storage/local/content?content=iso"
        )
        return [volume["volid"] for volume in self.ask(path)]

    def reset_counters(self) -> None:
        self.ask("/_control/reset", {})

    def requests(self) -> dict[str, int]:
        counted: dict[str, int] = self.ask("/_control/requests")["requests"]
        return counted


class CommandLine:
    """A simulated node of its own, and a home of its own."""

    def __init__(self, directory: Path) -> None:
        self.node = Node(directory / "node")
        self.home = directory / "home"

    def environment(self) -> dict[str, str]:
        return {**self.node.environment(), "XDG_STATE_HOME": str(self.home)}

    def run(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *words],
            env=self.environment(),
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def answer(self, text: str, *words: str) -> subprocess.CompletedProcess[str]:
        """As a person at a terminal who types `text`."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, text.encode())
            return self.run(*words, stdin=theirs)
        finally:
            os.close(ours)
            os.close(theirs)

    def ask(self, path: str, data: dict[str, Any] | None = None, method: str | None = None) -> Any:
        return self.node.ask("/api2/json" + path, data, method)

    def zones(self) -> list[str]:
        return sorted(zone["zone"] for zone in self.ask("/cluster/sdn/zones?pending=1"))

    def add_zone(self, zone: str, vnet: str, alias: str) -> None:
        self.ask("/cluster/sdn/zones", {"zone": zone, "type": "simple"})
        self.ask("/cluster/sdn/vnets", {"vnet": vnet, "zone": zone, "alias": alias})

    def switch_firewall_off(self) -> None:
        self.ask("/cluster/firewall/options", {"enable": 0}, "PUT")

    def firewall(self) -> bool:
        return bool(self.ask("/cluster/firewall/options").get("enable"))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path)
    made.node.start(simulated=True)
    yield made
    made.node.stop()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("node"))
    made.start()
    os.environ.update(made.variables)
    yield made
    made.stop()


def config_of(user: str | None = None, **changes: Any) -> ProxmoxSandboxEnvironmentConfig:
    vm: dict[str, Any] = {
        "vm_source_config": VmSourceConfig(built_in="debian13-small"),
        "ram_mb": 768,
        "vcpus": 2,
        "nics": (),
        "user": user,
    }
    return ProxmoxSandboxEnvironmentConfig(
        sdn_config=None, vms_config=(VmConfig(**{**vm, **changes}),)
    )


def prepare(config: ProxmoxSandboxEnvironmentConfig) -> None:
    """What a task does once, before its samples."""
    anyio.run(ProxmoxSandboxEnvironment.task_init, "tests", config)


def bring_up(config: ProxmoxSandboxEnvironmentConfig) -> dict[str, Any]:
    prepare(config)
    return bring_up_prepared(config)


def bring_up_prepared(config: ProxmoxSandboxEnvironmentConfig) -> dict[str, Any]:
    async def work() -> dict[str, Any]:
        return dict(
            await ProxmoxSandboxEnvironment.sample_init("tests", config, {"__sample_id__": "1"})
        )

    return anyio.run(work)


TASK = "GET /nodes/{node}/tasks/{upid}/status"
STATUS = "GET /nodes/{node}/qemu/{vmid}/agent/exec-status"
PING = "POST /nodes/{node}/qemu/{vmid}/agent/ping"
ADDRESSES = "GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces"
ALIVE = "GET /nodes/{node}/qemu/{vmid}/status/current"
NODES = "GET /nodes"
LEASE = "PUT /pools"


def without_polls(requests: dict[str, int], vms: int = 1) -> int:
    """All but what waits: of the questions for one thing the last is no poll but its answer. (For
    addresses all are polls: a guest's DHCP is waited for. So is what is asked about a VM whose agent
    is slow to answer: whether it and its node live. And a run renews its lease once a minute, whatever
    else it does.)"""
    answers = {
        TASK: 2 * vms,
        STATUS: requests.get("POST /nodes/{node}/qemu/{vmid}/agent/exec", 0),
        PING: vms,
        ADDRESSES: 0,
        ALIVE: 0,
        NODES: 0,
        LEASE: 0,
    }
    polls = sum(max(0, requests.get(name, 0) - count) for name, count in answers.items())
    return sum(requests.values()) - polls


def take_down(config: ProxmoxSandboxEnvironmentConfig, environments: dict[str, Any]) -> None:
    anyio.run(ProxmoxSandboxEnvironment.sample_cleanup, "tests", config, environments, False)


@pytest.fixture(scope="session")
def user_vm(node: Node) -> Iterator[ProxmoxSandboxEnvironment]:
    """A VM whose default user is not root."""
    config = config_of("user")
    environments = bring_up(config)
    yield next(iter(environments.values()))
    take_down(config, environments)


@pytest.fixture(scope="session")
def root_vm(node: Node) -> Iterator[ProxmoxSandboxEnvironment]:
    config = config_of()
    environments = bring_up(config)
    yield next(iter(environments.values()))
    take_down(config, environments)
