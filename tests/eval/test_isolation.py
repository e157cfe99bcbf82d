"""Closed networks, tried from inside a real guest before the first sample goes on."""

from __future__ import annotations

import logging

import pytest

from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

from .conftest import Node, bring_up, take_down

CLOSED = ProxmoxSandboxEnvironmentConfig(
    vms_config=(
        VmConfig(vm_source_config=VmSourceConfig(built_in="debian13-small"), ram_mb=256, vcpus=1),
    ),
    verify_isolation=True,
)


def test_a_guest_gets_no_answer_from_what_is_closed_to_it(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxmoxsandbox")
    environments = bring_up(CLOSED)
    take_down(CLOSED, environments)
    assert "gets no answer from any of" in caplog.text
