"""How many requests things cost, counted by the node. A call saved is the surest speed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment

from .conftest import Node, bring_up, config_of, take_down, without_polls

MIB = 1 << 20


def counted(node: Node, call: Callable[[], Awaitable[Any]]) -> dict[str, int]:
    node.reset_counters()
    anyio.run(call)
    return {name: count for name, count in node.requests().items() if "/_control/" not in name}


def test_a_command_costs_two(node: Node, user_vm: ProxmoxSandboxEnvironment) -> None:
    anyio.run(user_vm.exec, ["true"])  # the first one loads the guest's programs
    requests = counted(node, lambda: user_vm.exec(["true"]))
    assert without_polls(requests) == 2, requests


@pytest.mark.parametrize("size", [0, 1024, 45 * 1024])
def test_a_small_file_costs_two_either_way(
    node: Node, user_vm: ProxmoxSandboxEnvironment, size: int
) -> None:
    data = os.urandom(size)
    requests = counted(node, lambda: user_vm.write_file("small", data))
    assert without_polls(requests) == 2, requests
    requests = counted(node, lambda: user_vm.read_file("small", text=False))
    assert without_polls(requests) == 2, requests


@pytest.mark.parametrize("size", [MIB, 50 * MIB])
def test_a_large_file_goes_in_with_at_most_eight(
    node: Node, user_vm: ProxmoxSandboxEnvironment, size: int
) -> None:
    data = os.urandom(size)
    requests = counted(node, lambda: user_vm.write_file("large", data))
    assert without_polls(requests) <= 8, requests


@pytest.mark.parametrize(("size", "most"), [(MIB, 3), (50 * MIB, 60)])
def test_random_bytes_come_out_in_pieces(
    node: Node, user_vm: ProxmoxSandboxEnvironment, size: int, most: int
) -> None:
    data = os.urandom(size)
    anyio.run(user_vm.write_file, "large", data)
    got: list[bytes] = []

    async def read() -> None:
        got.append(await user_vm.read_file("large", text=False))

    requests = counted(node, read)
    assert got[0] == data
    assert without_polls(requests) <= most, requests


def test_a_sample_of_one_vm(node: Node, user_vm: ProxmoxSandboxEnvironment) -> None:
    """The template is there, for `user_vm` was made from it."""
    config = config_of("user")
    environments: dict[str, Any] = {}
    node.reset_counters()
    environments.update(bring_up(config))
    requests = node.requests()
    node.reset_counters()
    take_down(config, environments)
    ended = node.requests()
    assert without_polls(requests) <= 12, requests
    assert without_polls(ended) <= 4, ended
