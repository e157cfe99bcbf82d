"""Networks of real guests on the local node: a sample of four VMs on two networks, and beside it a
stranger, a sample of one VM with the network that is the default.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import anyio
import pytest

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

from .conftest import Node, bring_up, bring_up_prepared, prepare, take_down, without_polls

IMAGE = VmSourceConfig(built_in="debian13-small")
FIXED = {"a": ("BC:24:11:41:01:10", "10.41.1.10"), "b": ("BC:24:11:41:01:11", "10.41.1.11")}


def subnet(cidr: str) -> SubnetConfig:
    network = ip_network(cidr)
    dhcp = DhcpRange(start=network[100], end=network[199])
    return SubnetConfig(cidr=network, gateway=network[1], snat=False, dhcp_ranges=(dhcp,))


def with_two_cards(name: str) -> VmConfig:
    mac, address = FIXED.get(name, (None, None))
    left = VmNicConfig(vnet_alias="left", mac=mac, ipv4=ip_address(address) if address else None)
    return VmConfig(
        vm_source_config=IMAGE,
        name=name,
        ram_mb=256,
        vcpus=1,
        nics=(left, VmNicConfig(vnet_alias="right")),
    )


FOUR = ProxmoxSandboxEnvironmentConfig(
    sdn_config=SdnConfig(
        vnet_configs=(
            VnetConfig(alias="left", subnets=(subnet("10.41.1.0/24"), subnet("fd41:1::/64"))),
            VnetConfig(alias="right", subnets=(subnet("10.41.2.0/24"),)),
        )
    ),
    vms_config=tuple(with_two_cards(name) for name in ("a", "b", "c", "d")),
)
BESIDE = ProxmoxSandboxEnvironmentConfig(
    vms_config=(VmConfig(vm_source_config=IMAGE, name="stranger", ram_mb=256, vcpus=1),)
)


class Guest:
    """A VM, by what its shell prints."""

    def __init__(self, environment: Any) -> None:
        self._vm = environment.as_type(ProxmoxSandboxEnvironment)
        self.addresses: dict[str, list[str]] = self._vm.addresses
        self._seen: dict[str, str] = {}

    def run(self, script: str) -> str:
        async def work() -> str:
            result = await self._vm.exec(["bash", "-c", script], timeout=60)
            return f"{result.stdout}{result.stderr}"

        return anyio.run(work)

    def pings(self, hosts: Iterable[str], before: str = "", after: str = "") -> set[str]:
        """Those that answer, asked at the same time. `before` and `after` are commands."""
        one = '(ping -q -c 1 -w 4 "$h" >/dev/null 2>&1 && echo "$h") &'
        asked = f"for h in {' '.join(hosts)}; do {one} done; wait"
        return set(self.run(f"{before}\n{asked}\n{after}").split())

    def connects(self, places: Iterable[tuple[str, int]]) -> set[str]:
        """Those, as "host,port", that take a TCP connection."""
        listed = " ".join(f"{host},{port}" for host, port in places)
        one = 'timeout 4 bash -c "exec 3<>/dev/tcp/${p%,*}/${p#*,}" 2>/dev/null'
        return set(self.run(f'for p in {listed}; do ({one} && echo "$p") & done; wait').split())

    def address(self, card: str) -> str:
        """The card's IPv4 address, waited for: a VM with several is up when one has its own."""
        if card not in self._seen:
            look = f"ip -4 addr show dev {card} | grep inet"
            shown = self.run(f"for i in $(seq 100); do {look} && break; sleep .2; done")
            self._seen[card] = str(re.findall(r"inet ([0-9.]+)/", shown)[0])
        return self._seen[card]

    def gateway(self) -> str:
        return str(re.findall(r"default via (\S+) dev eth0", self.run("ip route"))[0])

    def ipv6_neighbours(self) -> set[str]:
        """Whoever answers to "all nodes" on the wire of the first card."""
        said = self.run("ping -c 2 -w 4 ff02::1%eth0")
        return set(re.findall(r"from (fe80[0-9a-f:]+)%eth0", said))

    def link_local(self, card: str) -> str:
        shown = self.run(f"ip addr show dev {card}")
        return str(re.findall(r"inet6 (fe80:\S+)/64", shown)[0])


class World(NamedTuple):
    guests: dict[str, Guest]
    requests: dict[str, int]
    """Of bringing up the four."""


@pytest.fixture(scope="module")
def world(node: Node) -> Iterator[World]:
    """Two samples at the same time: a, b, c, d, and the stranger."""
    beside = bring_up(BESIDE)
    prepare(FOUR)
    node.reset_counters()
    four = bring_up_prepared(FOUR)
    requests = node.requests()
    yield World({name: Guest(vm) for name, vm in {**four, **beside}.items()}, requests)
    take_down(FOUR, four)
    take_down(BESIDE, beside)


def test_four_vms_with_two_cards_each_cost_few_requests(world: World) -> None:
    assert without_polls(world.requests, vms=4) <= 40, world.requests


def test_a_vm_has_an_address_of_its_own_network_by_default(world: World) -> None:
    addresses = world.guests["stranger"].addresses["net0"]
    assert [ip_address(text) in ip_network("192.168.0.0/16") for text in addresses] == [True]


def test_two_vms_have_the_addresses_that_are_booked_for_them(world: World) -> None:
    for name, (_, address) in FIXED.items():
        assert address in world.guests[name].addresses["left"]


def test_each_card_has_an_address_of_its_network(world: World) -> None:
    for name in ("a", "b", "c", "d"):
        guest = world.guests[name]
        assert ip_address(guest.address("eth0")) in ip_network("10.41.1.0/24")
        assert ip_address(guest.address("eth1")) in ip_network("10.41.2.0/24")


def neighbours(world: World) -> set[str]:
    """What `a` is beside: the others' addresses."""
    b, c, d = (world.guests[name] for name in ("b", "c", "d"))
    return {
        b.address("eth0"),
        c.address("eth0"),
        c.address("eth1"),
        d.address("eth1"),
    }


def test_inside_a_network_everybody_is_there(world: World) -> None:
    wanted = neighbours(world)
    a, b = world.guests["a"], world.guests["b"]
    closed = {f"{b.link_local('eth0')}%eth0", "10.41.1.1", "10.41.2.1", "fd41:1::1"}
    assert a.pings(wanted | closed) == wanted
    b.run("httpd -p 8000 -h /tmp")
    assert a.connects([(b.address("eth0"), 8000)]) == {f"{b.address('eth0')},8000"}


def test_an_ipv6_subnet_gives_an_address_and_a_gateway(world: World) -> None:
    a, b = world.guests["a"], world.guests["b"]
    wait = "for i in $(seq 100); do ip addr show dev eth0 | grep -q fd41 && break; sleep .2; done;"
    shown = [guest.run(f"{wait} ip addr show dev eth0; ip -6 route") for guest in (a, b)]
    found = [re.findall(r"inet6 (fd41:1::[0-9a-f]+)/", text) for text in shown]
    assert all(len(one) == 1 and ip_address(one[0]) in ip_network("fd41:1::/64") for one in found)
    assert found[0] != found[1]
    assert re.search(r"default via fe80\S+ dev eth0", shown[0])
    assert a.pings(found[1]) == set(found[1])


def test_across_samples_nobody_is_there(world: World) -> None:
    a, stranger = world.guests["a"], world.guests["stranger"]
    asked = [
        stranger.gateway(),
        a.address("eth0"),
        a.address("eth1"),
        "10.41.1.1",
        "10.41.2.1",
        "fd41:1::1",
    ]
    asked.append(f"{a.link_local('eth0')}%eth0")
    assert stranger.pings(asked) == set()
    # With addresses of the others' networks on its own card, too.
    change = "".join(
        f"ip addr {{0}} {address} dev eth0; "
        for address in ("10.41.1.77/24", "10.41.2.77/24", "fd41:1::77/64")
    )
    assert stranger.pings(asked, change.format("add"), change.format("del")) == set()
    # On its wire nobody else speaks IPv6, not even the bridge.
    assert stranger.ipv6_neighbours() <= {stranger.link_local("eth0")}
    assert a.pings([stranger.address("eth0"), stranger.gateway()]) == set()


def addresses_of_host() -> set[str]:
    """What this machine has beside the loopback: the addresses by which others reach it."""
    found = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: it only asks for the way. (A documentation address, RFC 5737.)
        try:
            probe.connect(("203.0.113.1", 9))
            found.add(probe.getsockname()[0])
        except OSError:
            pass  # no way anywhere
    return {str(address) for address in found if not str(address).startswith(("127.", "::1"))}


def test_no_guest_reaches_the_nodes_api(world: World, node: Node) -> None:
    """Nor anything else of this machine, by the gateways, its addresses or the bridges' IPv6."""
    api = int(node.variables["PROXMOX_PORT"])
    with socket.create_server(("", 0)) as open_to_all:
        port = open_to_all.getsockname()[1]
        # The way out ends in this machine at .2 (slirp4netns).
        hosts = {"198.18.255.2", *addresses_of_host()}
        stranger = world.guests["stranger"]
        tried = [(host, p) for host in {stranger.gateway(), *hosts} for p in (api, port)]
        assert stranger.connects(tried) == set()
        a = world.guests["a"]
        bridge = re.findall(r"default via (fe80\S+) dev eth0", a.run("ip -6 route"))[0]
        gateways = {"10.41.1.1", "10.41.2.1", "fd41:1::1", f"{bridge}%eth0"}
        tried = [(host, p) for host in gateways | hosts for p in (api, port)]
        assert a.connects(tried) == set()


def test_another_sample_cant_take_an_address_by_mac_or_arp(world: World) -> None:
    b, stranger = world.guests["b"], world.guests["stranger"]
    mac, address = FIXED["a"]
    own = stranger.run("cat /sys/class/net/eth0/address").strip()
    before = b.run("ip neigh show 10.41.1.1")
    spoof = (
        f"ip link set eth0 down; ip link set eth0 address {mac}; ip link set eth0 up;"
        f"for i in {address} 10.41.1.1; do"
        " ip addr add $i/24 dev eth0; arping -U -c 3 -I eth0 -s $i $i >/dev/null; done"
    )
    assert stranger.pings([b.address("eth0")], before=spoof) == set()
    assert b.pings([address, "10.41.1.1"]) == {address}
    after = b.run(f"ip neigh show {address}; ip neigh show 10.41.1.1")
    seen = re.findall(r"(\S+) dev eth0 lladdr (\S+)", before + after)
    assert (address, mac.lower()) in seen
    assert len(set(seen)) == 2, seen  # the gateway has one MAC, before and after
    stranger.run(
        f"ip link set eth0 down; ip link set eth0 address {own}; ip link set eth0 up;"
        f"for i in {address} 10.41.1.1; do ip addr del $i/24 dev eth0; done"
    )
