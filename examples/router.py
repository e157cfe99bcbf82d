"""A router VM between two networks, as the default route of a client.

    eval "$(proxmox-sandbox node --background)"
    inspect eval examples/router.py

    www, 10.32.0.80 ──┐
                      │ wan: DHCP and a way out by the server
    router: eth0 ─────┘
            eth1 ─────┐
                      │ lan: a wire without addresses of its own
    client ───────────┘

The router is a small Debian that serves DHCP and NAT on `lan`. It is set up here, after it has
come up, by commands; a router image that is set up already needs only its place in the
configuration (docs/networks.md). The model is Inspect's mockllm.
"""

import re
from ipaddress import ip_address, ip_network

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageTool,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver, use_tools
from inspect_ai.tool import ToolChoice, ToolInfo, bash
from inspect_ai.util import SandboxEnvironmentSpec, sandbox, store

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

WAN = VnetConfig(
    alias="wan",
    subnets=(
        SubnetConfig(
            cidr=ip_network("10.32.0.0/24"),
            gateway=ip_address("10.32.0.1"),
            snat=True,
            dhcp_ranges=(
                DhcpRange(start=ip_address("10.32.0.100"), end=ip_address("10.32.0.199")),
            ),
        ),
    ),
)
LAN = VnetConfig(alias="lan")  # no subnet: the server has no address there and serves nothing
WWW = "10.32.0.80"

SET_UP_ROUTER = """set -e
# On the lan it gives addresses and asks for none.
until kill $(cat /run/udhcpc.eth1); do sleep 0.2; done 2>/dev/null
ip addr add 10.32.1.1/24 dev eth1
sysctl -q -w net.ipv4.ip_forward=1
nft -f - <<'EOF'
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "eth0" counter masquerade
  }
}
EOF
cat >/etc/udhcpd.conf <<'EOF'
interface eth1
start 10.32.1.100
end 10.32.1.199
option subnet 255.255.255.0
option router 10.32.1.1
EOF
udhcpd
"""
SET_UP_WWW = """set -e
mkdir -p /srv/cgi-bin
cat >/srv/cgi-bin/who <<'EOF'
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\nHello %s\\n' "$REMOTE_ADDR"
EOF
chmod +x /srv/cgi-bin/who
httpd -p 0.0.0.0:80 -h /srv
"""
CALLS = [
    "ip -4 addr show dev eth0; ip route",
    f"wget -q -O - http://{WWW}/cgi-bin/who",
]


def vm(name: str, *nics: VmNicConfig, first: bool = False) -> VmConfig:
    return VmConfig(
        vm_source_config=VmSourceConfig(built_in="debian13-small"),
        name=name,
        ram_mb=256,
        vcpus=1,
        nics=nics,
        await_before_next_vm=first,
    )


CONFIG = ProxmoxSandboxEnvironmentConfig(
    sdn_config=SdnConfig(vnet_configs=(WAN, LAN)),
    vms_config=(
        vm("router", VmNicConfig(vnet_alias="wan"), VmNicConfig(vnet_alias="lan"), first=True),
        vm("www", VmNicConfig(vnet_alias="wan", mac="BC:24:11:32:00:80", ipv4=ip_address(WWW))),
        vm("client", VmNicConfig(vnet_alias="lan")),
    ),
)


def play(
    messages: list[ChatMessage], tools: list[ToolInfo], choice: ToolChoice, config: GenerateConfig
) -> ModelOutput:
    """The next of the model's tool calls, by how many were answered so far."""
    done = sum(isinstance(message, ChatMessageTool) for message in messages)
    if done < len(CALLS):
        output = ModelOutput.for_tool_call("mockllm/model", "bash", {"command": CALLS[done]})
    else:
        output = ModelOutput.from_content("mockllm/model", "I am done.")
    # Without a usage Inspect would count tokens with a vocabulary from the internet.
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


async def run(name: str, script: str) -> str:
    """What a script prints in a VM; an error when it fails."""
    result = await sandbox(name).exec(["sh", "-c", script], timeout=60)
    if not result.success:
        raise RuntimeError(f"on {name}: {result.stdout}{result.stderr}")
    return result.stdout


@solver
def set_up() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        await run("router", SET_UP_ROUTER)
        await run("www", SET_UP_WWW)
        # The client was up before the router served: it asks once more.
        await run("client", "udhcpc -i eth0 -n -q")
        return state

    return solve


@scorer(metrics=[accuracy()])
def all_was_right() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        shown, page = [m.text for m in state.messages if isinstance(m, ChatMessageTool)]
        address = re.search(r"inet (10\.32\.1\.1\d\d)/24", shown)
        router = sandbox("router").as_type(ProxmoxSandboxEnvironment)
        leases = await run("router", "kill -USR1 $(cat /run/udhcpd.pid); dumpleases")
        counter = re.search(r"packets (\d+)", await run("router", "nft list table ip nat"))
        await run("router", "sysctl -q -w net.ipv4.ip_forward=0")
        fetch = f"timeout 3 wget -q -O - http://{WWW}/cgi-bin/who"
        without = await sandbox("client").exec(["sh", "-c", fetch])
        checks = {
            "the client has an address from the router": address is not None
            and address[1] in leases,
            "its default route is the router": "default via 10.32.1.1 dev eth0" in shown,
            "the server on the wan saw the router's address": page
            == f"Hello {router.addresses['wan'][0]}\n",
            "the router counted what it translated": counter is not None and int(counter[1]) > 0,
            "there is no way but through the router": not without.success,
        }
        store().set("timings", router.timings)
        wrong = [what for what, fine in checks.items() if not fine]
        return Score(value="I" if wrong else "C", explanation="; ".join(wrong) or "; ".join(checks))

    return score


@task
def router() -> Task:
    return Task(
        dataset=[Sample(id="router", input="Which address does the server see?")],
        solver=[set_up(), use_tools([bash(timeout=60, sandbox="client")]), generate()],
        scorer=all_was_right(),
        sandbox=SandboxEnvironmentSpec("proxmox", CONFIG),
        model=get_model("mockllm/model", custom_outputs=play),
        message_limit=20,
    )
