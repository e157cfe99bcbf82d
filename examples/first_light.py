"""First light: three samples at the same time, each in a VM of its own.

    eval "$(proxmox-sandbox node --background)"
    inspect eval examples/first_light.py

The model is Inspect's mockllm, so no key and no internet is needed: it calls the bash tool three
times, the last time with a command that runs into its time limit. A solver takes a snapshot before
and restores it after; the scorer looks at everything that happened.
"""

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
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

CALLS = [
    "cat note.txt; uname -sr; id -un",
    "echo 'written by the model' > answer.txt; sha256sum note.txt",
    "echo 'before the limit'; sleep 60",
]


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


@solver
def take_snapshot() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        await sandbox().as_type(ProxmoxSandboxEnvironment).create_snapshot("before")
        return state

    return solve


@solver
def restore_snapshot() -> Solver:
    """Keeps what the model wrote, then puts the VM back to where it was before."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        store().set("answer", await sandbox().read_file("answer.txt"))
        vm = sandbox().as_type(ProxmoxSandboxEnvironment)
        await vm.restore_snapshot("before")
        store().set("timings", vm.timings)
        return state

    return solve


@scorer(metrics=[accuracy()])
def all_was_right() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        answers = [
            message.text for message in state.messages if isinstance(message, ChatMessageTool)
        ]
        limit = next(m for m in reversed(state.messages) if isinstance(m, ChatMessageTool))
        gone = await sandbox().exec(["test", "-e", "answer.txt"])
        note = await sandbox().read_file("note.txt")
        checks = {
            "the model read the file that was copied in": target.text in answers[0],
            "its commands ran in a Linux VM as the user": "Linux" in answers[0]
            and "user" in answers[0],
            "the file it wrote was read back": store().get("answer") == "written by the model\n",
            "the command over its time limit was ended": limit.error is not None
            and limit.error.type == "timeout",
            "the model saw what it had said before": "before the limit"
            in f"{limit.text}{limit.error}",
            "the snapshot brought the VM back": gone.returncode == 1 and note == target.text,
        }
        wrong = [what for what, fine in checks.items() if not fine]
        return Score(value="I" if wrong else "C", explanation="; ".join(wrong) or "; ".join(checks))

    return score


@task
def first_light() -> Task:
    config = ProxmoxSandboxEnvironmentConfig(
        sdn_config=None,
        vms_config=(
            VmConfig(
                vm_source_config=VmSourceConfig(built_in="debian13-small"),
                ram_mb=512,
                vcpus=1,
                nics=(),
                user="user",
            ),
        ),
    )
    return Task(
        dataset=[
            Sample(
                id=f"vm-{n}",
                input="Look around.",
                target=f"note of sample {n}",
                files={"note.txt": f"note of sample {n}"},
            )
            for n in (1, 2, 3)
        ],
        solver=[take_snapshot(), use_tools([bash(timeout=5)]), generate(), restore_snapshot()],
        scorer=all_was_right(),
        sandbox=SandboxEnvironmentSpec("proxmox", config),
        model=get_model("mockllm/model", custom_outputs=play),
        message_limit=20,
    )
