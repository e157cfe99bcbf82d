"""What `make demo` shows: first_light.py and attacker_victim.py on a local node, where the time
went, and that nothing is left behind.

    demo.py DIRECTORY      of the node's state and the logs
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

STEPS = ("clone", "configure", "start", "agent", "commands")


def find_command() -> str:
    """The command that belongs to this Python, or the one on the PATH."""
    beside = Path(sys.executable).parent / "proxmox-sandbox"
    found = str(beside) if beside.exists() else shutil.which("proxmox-sandbox")
    if found is None:
        sys.exit("proxmox-sandbox is not installed: make build")
    return os.environ.get("PROXMOX_SANDBOX_COMMAND", found)


def start_node(command: str, directory: Path) -> None:
    """Starts the node and puts what it says to export into the environment."""
    arguments = [command, "node", "--dir", str(directory), "--port", "0", "--background"]
    lines = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in lines.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = shlex.split(value)[0] if value else ""


def ask_node(path: str) -> Any:
    """A GET of the node's API. The certificate is the node's own; it is on the loopback."""
    token = f"{os.environ['PROXMOX_TOKEN_ID']}={os.environ['PROXMOX_TOKEN_SECRET']}"
    url = f"https://{os.environ['PROXMOX_HOST']}:{os.environ['PROXMOX_PORT']}/api2/json{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"PVEAPIToken={token}"})
    with urllib.request.urlopen(request, context=ssl._create_unverified_context()) as answer:
        return json.load(answer)["data"]


def left_behind() -> list[str]:
    """What is still on the node that is no template."""
    node = os.environ["PROXMOX_NODE"]
    found = [f"VM {vm['vmid']}" for vm in ask_node(f"/nodes/{node}/qemu") if not vm.get("template")]
    for storage in ("local", "local-lvm"):
        for volume in ask_node(f"/nodes/{node}/storage/{storage}/content"):
            if volume["content"] in ("iso", "import"):
                found.append(volume["volid"])
    found += [task["upid"] for task in ask_node(f"/nodes/{node}/tasks?source=active")]
    found += [f"zone {zone['zone']}" for zone in ask_node("/cluster/sdn/zones")]
    found += [f"VNet {vnet['vnet']}" for vnet in ask_node("/cluster/sdn/vnets")]
    return found


def why_no_networks() -> str:
    """What keeps this user from making networks of VMs; empty when nothing does."""
    if os.geteuid() == 0:
        return ""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "this user can't open /dev/net/tun"
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "true"], stderr=subprocess.DEVNULL
    )
    return "" if tried.returncode == 0 else "this user may not make network namespaces"


def print_results(logs: list[Any]) -> bool:
    """The table of samples. True when all was right."""
    print("\nWhere the time went (seconds):\n")
    print(f"{'sample':10}" + "".join(f"{step:>11}" for step in STEPS) + f"{'total':>11}   result")
    return all([print_result(log) for log in logs])


def print_result(log: Any) -> bool:
    fine: bool = log.status == "success"
    for sample in log.samples or []:
        times = (sample.store or {}).get("timings", {})
        score = next(iter((sample.scores or {}).values()), None)
        right = score is not None and score.value == "C"
        fine = fine and right
        cells = "".join(f"{times.get(step, 0.0):11.2f}" for step in STEPS)
        print(
            f"{sample.id!s:10}{cells}{sample.total_time or 0.0:11.2f}   {'right' if right else 'WRONG'}"
        )
        if not right:
            reason = (
                sample.error.message if sample.error else score.explanation if score else "no score"
            )
            print(f"           {reason}")
    if log.error:
        print(log.error.message)
    return fine


def main() -> int:
    directory = Path(sys.argv[1]).resolve()
    command = find_command()
    started = time.monotonic()
    start_node(command, directory / "node")
    try:
        # Only now, for Inspect reads the environment when it is imported.
        from attacker_victim import attacker_victim
        from first_light import first_light
        from inspect_ai import eval as inspect_eval

        obstacle = why_no_networks()
        logs = inspect_eval(
            [first_light(), *([] if obstacle else [attacker_victim()])],
            log_dir=str(directory / "logs"),
            display="plain",
            log_level="info",
            max_samples=3,
        )
        fine = print_results(logs)
        if obstacle:
            print(f"\nattacker_victim.py was left out: {obstacle} (docs/local-node.md, Networks).")
        left = left_behind()
        print(f"\nLeft behind on the node: {', '.join(left) if left else 'nothing'}.")
        print(f"The whole demo took {time.monotonic() - started:.0f} s.")
        return 0 if fine and not left else 1
    finally:
        subprocess.run([command, "node", "--dir", str(directory / "node"), "--stop"], check=False)


if __name__ == "__main__":
    sys.exit(main())
