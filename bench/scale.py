"""Measures how the provider grows: N samples of one VM each on ten simulated hosts, from one process.

    scale.py DIRECTORY [--sizes 10,30,100,300,1000] [--plot FILE]

All samples are brought up, then each runs a command, then all are removed. A host works at four
tasks at a time, each takes it a second, and a guest boots for five: that is the limit that the time
is compared with. So are bare requests by as many connections as keep the hosts busy, in the same
run: the same clones, starts and so on, by a client that chooses no host, marks nothing and waits for
no one else. The nodes' state is in DIRECTORY, and results.json with more than the table that is
printed. The plot takes matplotlib.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bare import Bare
from tests.eval.conftest import Node

HOSTS = 10
TASKS_AT_ONCE = 4
TASK_SECONDS = 1
BOOT_SECONDS = 5
# 100 samples fit on each: 768 MiB and one core.
MEMORY_GB = 80
CORES = 16
# Twice what a host works at, so that it always has something to do.
BARE_CONNECTIONS = 2 * TASKS_AT_ONCE
PHASES = ("start", "command", "remove")


@dataclass
class Size:
    """What one number of VMs came to."""

    vms: int
    ours: dict[str, Any]
    bare: dict[str, float]
    node_cpu_seconds: float

    @property
    def seconds(self) -> float:
        return sum(self.ours[phase]["seconds"] for phase in PHASES)

    @property
    def bare_seconds(self) -> float:
        return sum(self.bare.values())

    @property
    def least_seconds(self) -> float:
        """By the hosts' own limits: two tasks of each VM before the command and two after it."""
        waves = max(2, math.ceil(2 * self.vms / HOSTS / TASKS_AT_ONCE))
        return 2 * waves * TASK_SECONDS + BOOT_SECONDS

    @property
    def requests(self) -> int:
        return sum(self.ours[phase]["requests"] for phase in PHASES)

    @property
    def cpu_ms_per_request(self) -> float:
        return 1000 * self.cpu_seconds / self.requests

    @property
    def cpu_seconds(self) -> float:
        return float(sum(self.ours[phase]["cpu_seconds"] for phase in PHASES))

    @property
    def mib(self) -> float:
        """That the process grew by."""
        return float(self.ours["bytes"] / (1 << 20))


def start_nodes(directory: Path) -> list[Node]:
    nodes = []
    for number in range(1, HOSTS + 1):
        node = Node(directory / f"pve{number}")
        dials = {
            "name": f"pve{number}",
            "memory-gb": MEMORY_GB,
            "cores": CORES,
            "tasks-at-once": TASKS_AT_ONCE,
            "task-ms": 1000 * TASK_SECONDS,
            "boot-ms": 1000 * BOOT_SECONDS,
            "output": "x 0 boot\n",  # as our program in a guest says that a command ended with 0
        }
        node.start(simulated=True, options=[f"--{name}={value}" for name, value in dials.items()])
        nodes.append(node)
    return nodes


def write_instances(nodes: list[Node], file: Path) -> None:
    instances = [
        {
            "instance_id": node.variables["PROXMOX_NODE"],
            "host": node.variables["PROXMOX_HOST"],
            "port": int(node.variables["PROXMOX_PORT"]),
            "fingerprint": node.variables["PROXMOX_FINGERPRINT"],
            "token_id": node.variables["PROXMOX_TOKEN_ID"],
            "token_secret": node.variables["PROXMOX_TOKEN_SECRET"],
            "node": node.variables["PROXMOX_NODE"],
            "image_storage": node.variables["PROXMOX_IMAGE_STORAGE"],
        }
        for node in nodes
    ]
    file.write_text(json.dumps({"instances": instances}))
    file.chmod(0o600)


def cpu_seconds(nodes: list[Node]) -> float:
    """Of all nodes since they started. (proc(5), stat fields 14 and 15)"""
    ticks = 0
    for node in nodes:
        fields = Path(f"/proc/{node.pid()}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def run_provider(count: int, instances: Path) -> dict[str, Any]:
    images = instances.parent / "images"
    images.mkdir(exist_ok=True)
    (images / "debian13-small.qcow2").write_bytes(b"x" * 512)  # simulated guests have no disks
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("samples.py"), str(count)],
        env={
            **os.environ,
            "PROXMOX_CONFIG_FILE": str(instances),
            "PROXMOX_SANDBOX_IMAGES": str(images),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    out: dict[str, Any] = json.loads(done.stdout)
    return out


def template_of(node: Node) -> int:
    listed = node.ask(f"/api2/json/nodes/{node.variables['PROXMOX_NODE']}/qemu")
    return next(int(vm["vmid"]) for vm in listed if vm.get("template"))


def start(node: Node, vmids: range) -> None:
    """Waits for the guests when all are started, for a silent one holds a worker of the server."""
    bare, template = Bare(node.variables), template_of(node)
    for vmid in vmids:
        bare.start(template, vmid)
    for vmid in vmids:
        bare.wait_for_agent(vmid)


def command(node: Node, vmids: range) -> None:
    bare = Bare(node.variables)
    for vmid in vmids:
        bare.run(vmid, ["true"], "")


def remove(node: Node, vmids: range) -> None:
    bare = Bare(node.variables)
    for vmid in vmids:
        bare.destroy(vmid)


def run_bare(count: int, nodes: list[Node]) -> dict[str, float]:
    """Seconds by phase."""
    out = {}
    with ThreadPoolExecutor(HOSTS * BARE_CONNECTIONS) as threads:
        for phase, work in zip(PHASES, (start, command, remove), strict=True):
            began = time.monotonic()
            jobs = []
            for i, node in enumerate(nodes):
                vmids = range(1000, 1000 + len(range(i, count, HOSTS)))
                for k in range(BARE_CONNECTIONS):
                    jobs.append(threads.submit(work, node, vmids[k::BARE_CONNECTIONS]))
            for job in jobs:
                job.result()
            out[phase] = time.monotonic() - began
    return out


def measure(count: int, nodes: list[Node], instances: Path) -> Size:
    spent = cpu_seconds(nodes)
    ours = run_provider(count, instances)
    spent = cpu_seconds(nodes) - spent
    return Size(count, ours, run_bare(count, nodes), spent)


HEADINGS = (
    "VMs", "seconds", "bare", "limit", "of limit", "of bare", "requests/VM", "CPU ms/request",
    "MiB/VM", "nodes' CPU s",
)  # fmt: skip


def line(size: Size) -> str:
    cells = (
        f"{size.vms}",
        f"{size.seconds:.1f}",
        f"{size.bare_seconds:.1f}",
        f"{size.least_seconds:.1f}",
        f"{size.least_seconds / size.seconds:.0%}",
        f"{size.bare_seconds / size.seconds:.0%}",
        f"{size.requests / size.vms:.1f}",
        f"{size.cpu_ms_per_request:.2f}",
        f"{size.mib / size.vms:.2f}",
        f"{size.node_cpu_seconds:.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def plot(sizes: list[Size], file: Path) -> None:
    import matplotlib.pyplot as pyplot
    import numpy

    vms = [size.vms for size in sizes]
    figure, grid = pyplot.subplots(2, 2, figsize=(10, 6.6), layout="constrained")
    panels = list(grid.flat)
    drawn = (
        ("All started, one command each, all removed", "s", [s.seconds for s in sizes]),
        ("The provider's CPU time", "s", [s.cpu_seconds for s in sizes]),
        ("Memory that the provider grew by", "MiB", [s.mib for s in sizes]),
        ("The provider's CPU time for a request", "ms", [s.cpu_ms_per_request for s in sizes]),
    )
    for panel, (title, unit, values) in zip(panels, drawn, strict=True):
        if unit != "ms":
            slope, start = numpy.polyfit(vms, values, 1)
            ends = numpy.array([0, max(vms)])
            label = f"fitted: {slope:.2g} {unit} a VM"
            panel.plot(ends, start + slope * ends, color="tab:gray", label=label)
        panel.plot(vms, values, "o", color="tab:blue", label="measured")
        panel.set(title=title, xlabel=f"VMs on {HOSTS} hosts", ylabel=unit, xlim=0)
    limits = [s.least_seconds for s in sizes]
    grid[0, 0].plot(vms, limits, ":", color="tab:red", label="the hosts' limit")
    for panel in panels:
        panel.set_ylim(0, 1.1 * panel.get_ylim()[1])
        panel.legend(frameon=False)
    figure.savefig(file, dpi=90)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sizes", default="10,30,100,300,1000")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot takes matplotlib: pip install -r bench/requirements.txt")
    options.directory.mkdir(parents=True, exist_ok=True)
    nodes = start_nodes(options.directory.resolve())
    instances = options.directory.resolve() / "instances.json"
    write_instances(nodes, instances)
    results = options.directory / "results.json"
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
    sizes = []
    try:
        for count in map(int, options.sizes.split(",")):
            size = measure(count, nodes, instances)
            sizes.append(size)
            print(line(size), flush=True)
            results.write_text(json.dumps([asdict(size) for size in sizes], indent=1))
    finally:
        for node in nodes:
            node.stop()
    if options.plot:
        plot(sizes, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
