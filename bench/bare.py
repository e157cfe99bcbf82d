"""The requests of an evaluation, and nothing else: what the provider is compared with."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote


class Bare:
    """One connection to a server, which checks nothing and remembers nothing."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """`variables`: PROXMOX_HOST and the others that a local node prints."""
        context = ssl._create_unverified_context()
        self.connection = http.client.HTTPSConnection(
            variables["PROXMOX_HOST"], int(variables["PROXMOX_PORT"]), context=context
        )
        token = f"{variables['PROXMOX_TOKEN_ID']}={variables['PROXMOX_TOKEN_SECRET']}"
        self.headers = {"Authorization": f"PVEAPIToken={token}"}
        self.root = f"/api2/json/nodes/{variables['PROXMOX_NODE']}"

    def ask(self, method: str, path: str, **values: Any) -> Any:
        body = json.dumps(values) if values else None
        headers = self.headers | ({"Content-Type": "application/json"} if values else {})
        for attempt in (1, 2):
            try:
                self.connection.request(method, self.root + path, body, headers)
                answer = self.connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{method} {path}: {answer.status} {answer.reason}")
                return json.loads(text)["data"]
            except (http.client.RemoteDisconnected, ConnectionError):
                # The server closes a connection that was idle or served a hundred requests.
                self.connection.close()
                if attempt == 2:
                    raise

    def finish(self, upid: str) -> None:
        while self.ask("GET", f"/tasks/{quote(upid)}/status")["status"] != "stopped":
            time.sleep(0.05)

    def start(self, template: int, vmid: int) -> None:
        """Clone, configure, start."""
        self.finish(self.ask("POST", f"/qemu/{template}/clone", newid=vmid))
        settings = {"memory": 768, "cores": 2, "scsi1": "none,media=cdrom"}
        self.ask("PUT", f"/qemu/{vmid}/config", **settings)
        self.finish(self.ask("POST", f"/qemu/{vmid}/status/start", timeout=60))

    def wait_for_agent(self, vmid: int) -> None:
        while True:
            try:
                self.ask("POST", f"/qemu/{vmid}/agent/ping")
                return
            except RuntimeError:
                time.sleep(0.1)

    def destroy(self, vmid: int) -> None:
        self.finish(self.ask("POST", f"/qemu/{vmid}/status/stop"))
        self.finish(self.ask("DELETE", f"/qemu/{vmid}"))

    def run(self, vmid: int, command: list[str], program: str) -> None:
        """A command by two requests, with more where it is not over yet."""
        path = f"/qemu/{vmid}/agent"
        pid = self.ask("POST", f"{path}/exec", **{"command": command, "input-data": program})["pid"]
        while not self.ask("GET", f"{path}/exec-status?pid={pid}")["exited"]:
            pass
