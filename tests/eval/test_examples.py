"""The examples of networks do what they say, and leave nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import EvalSample, list_eval_logs, read_eval_log

from .conftest import Node

ROOT = Path(__file__).parent.parent.parent


def zones(node: Node) -> set[str]:
    return {zone["zone"] for zone in node.ask("/api2/json/cluster/sdn/zones")}


def vms(node: Node) -> set[int]:
    return {vm["vmid"] for vm in node.vms()}


@pytest.fixture(scope="module")
def samples(node: Node, tmp_path_factory: pytest.TempPathFactory) -> dict[str, EvalSample]:
    """Of both examples, run at the same time as a user runs them, by sample."""
    logs = tmp_path_factory.mktemp("logs")
    before = vms(node), zones(node)
    words = ["eval", "examples/router.py", "examples/attacker_victim.py", "--max-tasks", "2"]
    options = ["--display", "none", "--log-dir", str(logs)]
    command = [sys.executable, "-m", "inspect_ai", *words, *options]
    assert subprocess.run(command, cwd=ROOT, env=node.environment()).returncode == 0
    assert (vms(node), zones(node)) == before
    found = [read_eval_log(log) for log in list_eval_logs(str(logs))]
    return {str(sample.id): sample for log in found for sample in log.samples or []}


@pytest.mark.parametrize("name", ["router", "attack", "bystander"])
def test_an_example_does_what_it_says(name: str, samples: dict[str, EvalSample]) -> None:
    (score,) = (samples[name].scores or {}).values()
    assert score.value == "C", score.explanation
