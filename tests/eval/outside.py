"""What guests reach of the outside, seen in a world of network namespaces.

    unshare --net python -m tests.eval.outside DIRECTORY

A host with a network of its own, a router, and behind it an outside with a web server; on the host
a local node. One guest has SNAT, one has not. Prints what each of them could read, as JSON. Needs
root; of this machine's own network nothing is touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path

import anyio

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

OUTSIDE = "203.0.113.9"
FORBIDDEN = {
    "the host": "10.99.0.1",
    "a machine of the host's network": "10.99.0.2",
    "the host, by the way out": "198.18.255.2",
    "cloud metadata": "169.254.169.254",
}


def sh(script: str, inside: int | None = None) -> None:
    words = ["sh", "-ec", script]
    if inside is not None:
        words = ["nsenter", "--target", str(inside), "--net", *words]
    subprocess.run(words, check=True)


@contextmanager
def process(*words: str) -> Iterator[int]:
    started = subprocess.Popen(words)
    try:
        yield started.pid
    finally:
        started.kill()
        started.wait()


def wait_until(what: str, fine: object) -> None:
    limit = time.monotonic() + 20
    while not fine():  # type: ignore[operator]
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.02)


def namespace_of(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def reads(url: str) -> bool:
    return (
        subprocess.run(["busybox", "wget", "-Y", "off", "-q", "-O", "/dev/null", url]).returncode
        == 0
    )


@contextmanager
def world(directory: Path) -> Iterator[None]:
    with ExitStack() as stack:
        router = stack.enter_context(process("unshare", "--net", "sleep", "600"))
        wait_until("no namespace", lambda: namespace_of(router) != namespace_of("self"))
        sh(
            f"ip link set lo up; ip link add wan0 type veth peer name eth0 netns {router};"
            "ip addr add 10.99.0.1/24 dev wan0; ip link set wan0 up"
        )
        sh(
            f"ip link set lo up; ip addr add {OUTSIDE}/32 dev lo;"
            "ip addr add 169.254.169.254/32 dev lo; ip addr add 10.99.0.2/24 dev eth0;"
            "ip link set eth0 up",
            inside=router,
        )
        sh("ip route add default via 10.99.0.2")
        (directory / "flag").write_text("flag")
        server = ("busybox", "httpd", "-f", "-p", "80", "-h", str(directory))
        stack.enter_context(process(*server))
        stack.enter_context(process("nsenter", "--target", str(router), "--net", *server))
        for address in (OUTSIDE, "10.99.0.1", "10.99.0.2", "169.254.169.254"):
            wait_until(f"{address} does not serve", lambda a=address: reads(f"http://{a}/flag"))
        yield


def subnet(cidr: str, snat: bool) -> SubnetConfig:
    network = ip_network(cidr)
    dhcp = DhcpRange(start=network[100], end=network[199])
    return SubnetConfig(cidr=network, gateway=network[1], snat=snat, dhcp_ranges=(dhcp,))


CONFIG = ProxmoxSandboxEnvironmentConfig(
    sdn_config=SdnConfig(
        vnet_configs=(
            VnetConfig(alias="open", subnets=(subnet("10.43.1.0/24", True),)),
            VnetConfig(alias="closed", subnets=(subnet("10.43.2.0/24", False),)),
        )
    ),
    vms_config=tuple(
        VmConfig(
            vm_source_config=VmSourceConfig(built_in="debian13-small"),
            name=name,
            ram_mb=256,
            vcpus=1,
            nics=(VmNicConfig(vnet_alias=name),),
        )
        for name in ("open", "closed")
    ),
)


def what_is_read(vm: ProxmoxSandboxEnvironment) -> list[str]:
    places = " ".join([OUTSIDE, *FORBIDDEN.values(), "10.43.1.1", "10.43.2.1"])
    one = '(timeout 8 wget -q -O /dev/null "http://$h/flag" && echo "$h") &'
    script = f"for h in {places}; do {one} done 2>/dev/null; wait"
    return sorted(anyio.run(vm.exec, ["bash", "-c", script]).stdout.split())


def main() -> None:
    directory = Path(sys.argv[1])
    with world(directory):
        node = Node(directory / "node")
        node.start()
        os.environ.update(node.variables)
        try:
            vms = bring_up(CONFIG)
            print(json.dumps({name: what_is_read(vm) for name, vm in vms.items()}))
            take_down(CONFIG, vms)
        finally:
            node.stop()


if __name__ == "__main__":
    main()
