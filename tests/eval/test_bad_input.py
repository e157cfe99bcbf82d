"""Mistakes get one clear error before anything is created."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from inspect_ai._util.error import PrerequisiteError

from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment
from proxmoxsandbox.schema import VmNicConfig, VmSourceConfig

from .conftest import Node, config_of

TAG = VmSourceConfig(existing_vm_template_tag="no-such-tag")

# name, environment, configuration, what the error says
MISTAKES: list[tuple[str, dict[str, str], dict[str, Any], list[str]]] = [
    (
        "wrong password",
        {"PROXMOX_TOKEN_ID": "", "PROXMOX_TOKEN_SECRET": "", "PROXMOX_PASSWORD": "hunter2"},
        {},
        ["PROXMOX_PASSWORD"],
    ),
    (
        "wrong token",
        {"PROXMOX_TOKEN_SECRET": "00000000-0000-0000-0000-000000000000"},
        {},
        ["PROXMOX_TOKEN"],
    ),
    ("wrong node", {"PROXMOX_NODE": "elsewhere"}, {}, ["PROXMOX_NODE", "elsewhere", "proxmox"]),
    ("nobody listens", {"PROXMOX_PORT": "1"}, {}, ["PROXMOX_PORT"]),
    ("self-signed without fingerprint", {"PROXMOX_FINGERPRINT": ""}, {}, ["PROXMOX_FINGERPRINT"]),
    ("another fingerprint", {"PROXMOX_FINGERPRINT": "AA:" * 31 + "AA"}, {}, ["AA:AA"]),
    ("no host", {"PROXMOX_HOST": ""}, {}, ["PROXMOX_HOST"]),
    (
        "unknown template tag",
        {},
        {"vm_source_config": TAG},
        ["no-such-tag", "existing_vm_template_tag"],
    ),
    (
        "unknown built-in",
        {},
        {"vm_source_config": VmSourceConfig(built_in="debian99")},
        ["debian99", "debian13-small"],
    ),
    (
        "unknown network",
        {},
        {"nics": (VmNicConfig(vnet_alias="nowhere"),)},
        ["vnet_alias", "nowhere"],
    ),
]


@pytest.mark.parametrize(
    ("name", "variables", "vm", "says"), MISTAKES, ids=[row[0] for row in MISTAKES]
)
def test_mistake(
    name: str,
    variables: dict[str, str],
    vm: dict[str, Any],
    says: list[str],
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    before = node.ask("/api2/json/cluster/resources?type=vm")
    config = config_of("user", **vm)
    with pytest.raises(PrerequisiteError) as caught:
        anyio.run(ProxmoxSandboxEnvironment.task_init, "tests", config)
    for text in says:
        assert text in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert len(node.ask("/api2/json/cluster/resources?type=vm")) == len(before)


def test_a_missing_storage_is_named_before_a_template_is_made(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = node.media()
    monkeypatch.setenv("PROXMOX_IMAGE_STORAGE", "nowhere")
    # A shape that no template has yet.
    with pytest.raises(PrerequisiteError, match=r"PROXMOX_IMAGE_STORAGE.*nowhere"):
        anyio.run(ProxmoxSandboxEnvironment.task_init, "tests", config_of(disk_controller="ide"))
    assert node.media() == media
