"""Times how an image comes to a server, beside curl and sha256sum at the same work in the same run.

    images.py DIRECTORY [MIB]      of a simulated node's state; of the image (1024 if left out)

The upload's time is from its first byte to its last, curl's that of its whole request.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.eval.conftest import COMMAND, Node

ROUNDS = 3
PIECE = os.urandom(1 << 20)


def write_image(path: Path, mib: int) -> None:
    """Of another content each time, so that it is uploaded again."""
    with path.open("wb") as file:
        file.write(os.urandom(1 << 20))
        for _ in range(mib - 1):
            file.write(PIECE)
    os.sync()


def upload_by_us(node: Node, image: Path, home: Path) -> float:
    done = subprocess.run(
        [COMMAND, "image", "bake", image],
        env={**node.environment(), "XDG_CACHE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"upload: \d+ MB in ([\d.]+) s", done.stderr)
    if found is None:
        raise RuntimeError(done.stderr)
    return float(found[1])


def upload_by_curl(node: Node, image: Path) -> float:
    v = node.variables
    where = f"/api2/json/nodes/{v['PROXMOX_NODE']}/storage/local/upload"
    token = f"PVEAPIToken={v['PROXMOX_TOKEN_ID']}={v['PROXMOX_TOKEN_SECRET']}"
    done = subprocess.run(
        ["curl", "--silent", "--fail", "--insecure", "--output", "/dev/null", "-H", "Expect:",
         "--write-out", "%{time_total}", "-H", f"Authorization: {token}", "-F", "content=import",
         "-F", f"filename=@{image};filename=curl.raw",
         f"https://{v['PROXMOX_HOST']}:{v['PROXMOX_PORT']}{where}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def timed(*words: str | Path) -> float:
    started = time.monotonic()
    subprocess.run(words, check=True, capture_output=True)
    return time.monotonic() - started


def line(name: str, mib: int, seconds: float, note: str = "") -> None:
    print(f"{name:42}{seconds:9.3f} s {mib / seconds:8.0f} MiB/s  {note}", flush=True)


def measure(node: Node, folder: Path, mib: int) -> None:
    image = folder / "bench.raw"
    ours, curls, sums, tools = [], [], [], []
    for _ in range(ROUNDS):
        write_image(image, mib)
        curls.append(upload_by_curl(node, image))
        ours.append(upload_by_us(node, image, folder / "home"))
        tools.append(timed("sha256sum", image))
        sums.append(timed(COMMAND, "image", "inspect", "--json", image))
    image.unlink()
    up, curl = statistics.median(ours), statistics.median(curls)
    line("upload of an image", mib, up, f"{curl / up:.2f} times as fast as curl")
    line("  by curl", mib, curl)
    own, tool = statistics.median(sums), statistics.median(tools)
    line("SHA-256 of an image (image inspect)", mib, own, f"{tool / own:.2f} times sha256sum's")
    line("  by sha256sum", mib, tool)


def main() -> int:
    folder = Path(sys.argv[1]).resolve()
    node = Node(folder / "node")
    node.start(simulated=True)
    try:
        measure(node, folder, int(sys.argv[2]) if len(sys.argv) > 2 else 1024)
    finally:
        node.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
