"""The command line as people and scripts use it: what it prints where, and its exit codes."""

from __future__ import annotations

import fcntl
import json
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from .conftest import CommandLine

RUN = "1a2b3c4d"


def test_net_ls_says_when_there_is_nothing(line: CommandLine) -> None:
    done = line.run("net", "ls")
    assert (done.returncode, done.stdout) == (0, "")
    assert "127.0.0.1 has no networks" in done.stderr


def test_net_ls_tells_ours_from_others(line: CommandLine) -> None:
    line.add_zone("abc123z", "abc123v0", f"lan [inspect-run-{RUN}]")
    line.add_zone("office", "office", "office")
    rows = line.run("net", "ls").stdout.splitlines()
    assert rows[0].split() == [
        "ZONE",
        "VNET",
        "ALIAS",
        "SUBNET",
        "WHOSE",
        "AGE",
        "USED",
        "BY",
        "STATE",
    ]
    assert rows[1].split() == ["abc123z", "abc123v0", "lan", "-", "run", RUN, "-", "free", "new"]
    assert rows[2].split() == ["office", "office", "office", "-", "foreign", "-", "-", "new"]
    ours, others = (json.loads(row) for row in line.run("net", "ls", "--json").stdout.splitlines())
    assert (ours["whose"], ours["run"], ours["run_life"], ours["free"]) == (
        "run",
        RUN,
        "unknown",
        True,
    )
    assert (others["whose"], others["run"], others["vnets"][0]["alias"]) == (
        "foreign",
        None,
        "office",
    )


def test_net_check_ends_with_1_when_something_is_wrong(line: CommandLine) -> None:
    fine = line.run("net", "check")
    assert (fine.returncode, fine.stdout) == (0, "")
    line.add_zone("office", "office", "office")
    wrong = line.run("net", "check", "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["what"] == "zone office"


def test_net_rm_removes_only_with_yes_and_only_what_is_ours(line: CommandLine) -> None:
    line.add_zone("abc123z", "abc123v0", f"lan [inspect-run-{RUN}]")
    line.add_zone("office", "office", "office")
    dry = line.run("net", "rm", "--run", RUN)
    assert dry.returncode == 0
    assert "abc123z" in dry.stdout
    assert "--yes" in dry.stderr
    assert "zone office (new)" in dry.stderr, "it would be applied, too"
    assert line.zones() == ["abc123z", "office"]
    assert line.run("net", "rm", "--run", RUN, "--yes").returncode == 0
    assert line.zones() == ["office"]
    refused = line.run("net", "rm", "office", "--yes")
    assert refused.returncode == 1
    assert "not ours" in refused.stdout
    assert line.zones() == ["office"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "one of"),
        (["--dead", "abc123z"], "one of"),
        (["--run", "x"], "8 characters"),
        (["abc123z", "typo"], "typo"),
    ],
)
def test_net_rm_refuses_what_is_not_clear(line: CommandLine, words: list[str], says: str) -> None:
    line.add_zone("abc123z", "abc123v0", f"lan [inspect-run-{RUN}]")
    done = line.run("net", "rm", *words, "--yes")
    assert done.returncode == 2
    assert says in done.stderr
    assert line.zones() == ["abc123z"]


EVALUATION = """
import anyio, sys
from proxmoxsandbox._proxmox_sandbox_environment import ProxmoxSandboxEnvironment as Sandbox
from proxmoxsandbox.schema import ProxmoxSandboxEnvironmentConfig, VmConfig, VmSourceConfig

vm = VmConfig(vm_source_config=VmSourceConfig(existing_vm_template_tag="box"))
config = ProxmoxSandboxEnvironmentConfig(vms_config=(vm,))

async def begin():
    await Sandbox.task_init("tests", config)
    print("begun", flush=True)
    await anyio.sleep_forever()

anyio.run(begin)
"""


SAMPLE = """await Sandbox.sample_init("tests", config, {"__sample_id__": "7"})
"""


def test_net_rm_dead_waits_for_the_death_of_the_evaluation(line: CommandLine) -> None:
    line.ask("/nodes/proxmox/qemu", {"vmid": 100, "tags": "box", "agent": "1"})
    line.ask("/nodes/proxmox/qemu/100/template", {})
    words = [sys.executable, "-c", EVALUATION]
    with subprocess.Popen(words, env=line.environment(), stdout=subprocess.PIPE) as evaluation:
        assert evaluation.stdout is not None
        try:
            assert evaluation.stdout.readline() == b"begun\n"
            made = line.zones()
            assert made
            assert "nothing to remove" in line.run("net", "rm", "--dead", "--yes").stderr
            named = line.run("net", "rm", made[0], "--yes")
            assert named.returncode == 1
            assert "lives" in named.stdout
            assert line.zones() == made
        finally:
            evaluation.send_signal(signal.SIGKILL)
    dead = {
        json.loads(row)["run_life"] for row in line.run("net", "ls", "--json").stdout.splitlines()
    }
    assert dead == {"dead"}
    assert line.run("net", "check").returncode == 1
    assert line.run("net", "rm", "--dead", "--yes").returncode == 0
    assert line.zones() == []


def things(line: CommandLine) -> list[dict[str, Any]]:
    """What `ls` shows below its first line, which is the server's."""
    server, *rows = (json.loads(row) for row in line.run("ls", "--json").stdout.splitlines())
    assert (server["kind"], server["state"]) == ("server", "reachable")
    assert server["cores"] > 0 and 0 < server["memory_free_bytes"] <= server["memory_bytes"]
    return rows


def test_ls_and_cleanup_know_what_a_killed_evaluation_left(line: CommandLine) -> None:
    line.ask("/nodes/proxmox/qemu", {"vmid": 100, "tags": "box", "agent": "1"})
    line.ask("/nodes/proxmox/qemu/100/template", {})
    nothing = line.run("ls")
    assert nothing.returncode == 0
    assert "cores" in nothing.stdout and "nothing of ours" in nothing.stdout
    words = [sys.executable, "-c", EVALUATION.replace("print(", SAMPLE + "    print(")]
    with subprocess.Popen(words, env=line.environment(), stdout=subprocess.PIPE) as evaluation:
        assert evaluation.stdout is not None
        try:
            assert evaluation.stdout.readline() == b"begun\n"
            assert line.run("cleanup", "--dead", "--yes").stderr == "There is nothing to remove.\n"
            old = line.run("cleanup", "--older", "0s", "--yes")
            assert "keep" in old.stdout and "it lives" in old.stdout
        finally:
            evaluation.send_signal(signal.SIGKILL)
    rows = things(line)
    assert {row["kind"] for row in rows} == {"run", "network", "vm"}
    assert len({row["owner"] for row in rows}) == 1, "networks are told apart by their run"
    (run,) = [row for row in rows if row["kind"] == "run"]
    assert (run["vms"], run["files"]) == (1, 0) and run["networks"] > 0
    (vm,) = [row for row in rows if row["kind"] == "vm"]
    assert (vm["task"], vm["sample"], vm["state"]) == ("tests", "7", "running")
    assert vm["run_life"] == "dead" and vm["age_seconds"] < 60
    assert vm["owner"].endswith(f"process {evaluation.pid}")
    assert vm["run"] in line.run("ls").stdout

    dry = line.run("cleanup", "--dead")
    assert dry.returncode == 0
    assert f"run {vm['run']} is dead" in dry.stdout
    assert "--yes" in dry.stderr
    assert len(things(line)) == len(rows), "nothing is removed yet"
    done = line.run("cleanup", "--dead", "--yes")
    assert done.returncode == 0
    assert f"127.0.0.1: removed VM {vm['id']}" in done.stderr
    assert things(line) == []


def test_servers_of_a_file_are_called_by_their_ids(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = line.node.variables
    rack = {
        "host": given["PROXMOX_HOST"],
        "port": int(given["PROXMOX_PORT"]),
        "token_id": given["PROXMOX_TOKEN_ID"],
        "token_secret": given["PROXMOX_TOKEN_SECRET"],
        "fingerprint": given["PROXMOX_FINGERPRINT"],
    }
    instances = [{"instance_id": "rack1", **rack}, {"instance_id": "rack2", **rack, "port": 1}]
    file = line.home.with_name("racks.json")
    file.write_text(json.dumps({"instances": instances}))
    monkeypatch.setenv("PROXMOX_CONFIG_FILE", str(file))
    shown = line.run("ls")
    assert "node proxmox of rack1: " in shown.stdout
    assert shown.stderr.startswith("rack2: ")
    line.add_zone("abc123z", "abc123v0", f"lan [inspect-run-{RUN}]")
    assert "rack1: removed zone abc123z" in line.run("cleanup", "--run", RUN, "--yes").stderr


def test_ls_shows_which_hosts_a_living_run_has_set_aside(line: CommandLine) -> None:
    signs = line.home / "proxmox-sandbox" / "runs"
    signs.mkdir(parents=True)
    until = int(time.time()) + 40
    hosts = [{"host": "127.0.0.1", "node": "proxmox", "why": "no space", "until": until}]
    with (signs / RUN).open("w") as sign:
        json.dump(hosts, sign)
        sign.flush()
        assert "set aside" not in line.run("ls").stdout, "the run is dead"
        fcntl.flock(sign, fcntl.LOCK_EX)
        shown = line.run("ls").stdout
        (row,) = (json.loads(text) for text in line.run("ls", "--json").stdout.splitlines()[1:])
    assert re.search(rf"set aside by run {RUN} for \d+ s more: no space", shown)
    assert (row["kind"], row["id"], row["run"]) == ("set_aside", "proxmox", RUN)
    assert row["error"] == "no space" and 0 < row["seconds_left"] <= 40


def test_another_machine_cleans_up_when_a_killed_evaluation_was_silent(line: CommandLine) -> None:
    line.ask("/nodes/proxmox/qemu", {"vmid": 100, "tags": "box", "agent": "1"})
    line.ask("/nodes/proxmox/qemu/100/template", {})
    words = [sys.executable, "-c", EVALUATION.replace("print(", SAMPLE + "    print(")]
    with subprocess.Popen(words, env=line.environment(), stdout=subprocess.PIPE) as evaluation:
        assert evaluation.stdout is not None
        try:
            assert evaluation.stdout.readline() == b"begun\n"
        finally:
            evaluation.send_signal(signal.SIGKILL)
    line.home = line.home.with_name("home of another machine")
    before = things(line)
    assert {row["run_life"] for row in before} == {"alive"}, "it may live for all that is known"
    assert line.run("cleanup", "--dead", "--yes").stderr == "There is nothing to remove.\n"

    # Five minutes pass.
    (pool,) = line.ask("/pools")
    comment = re.sub("renewed [^,]+", "renewed 2026-01-01T00:00:00Z", pool["comment"])
    line.ask("/pools", {"poolid": pool["poolid"], "comment": comment}, "PUT")
    assert {row["run_life"] for row in things(line)} == {"dead"}
    assert line.run("net", "check").returncode == 1
    done = line.run("cleanup", "--dead", "--yes")
    assert done.returncode == 0
    assert "removed record of run" in done.stderr
    assert things(line) == [] and line.ask("/pools") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "one of"),
        (["--dead", "--all"], "one of"),
        (["--run", "x"], "8 characters"),
        (["--older", "soon"], "2h"),
    ],
)
def test_cleanup_refuses_what_is_not_clear(line: CommandLine, words: list[str], says: str) -> None:
    done = line.run("cleanup", *words, "--yes")
    assert done.returncode == 2
    assert says in done.stderr


def test_doctor_fix_changes_nothing_without_consent(line: CommandLine) -> None:
    line.switch_firewall_off()
    for done in (
        line.run("doctor"),
        line.run("doctor", "--fix"),
        line.answer("n\n", "doctor", "--fix"),
        line.answer("\n", "doctor", "--fix"),
    ):
        assert done.returncode == 1
        assert "bad      firewall" in done.stdout
        assert not line.firewall()
    asked = line.answer("n\n", "doctor", "--fix").stderr
    assert "PUT /cluster/firewall/options enable=1 policy_in=ACCEPT" in asked
    assert "Nothing is changed." in asked
    assert "no terminal" in line.run("doctor", "--fix").stderr
    assert line.run("doctor", "--yes").returncode == 2


@pytest.mark.parametrize("by_person", [True, False])
def test_doctor_fix_switches_the_firewall_on(line: CommandLine, by_person: bool) -> None:
    line.switch_firewall_off()
    if by_person:
        done = line.answer("y\n", "doctor", "--fix")
    else:
        done = line.run("doctor", "--fix", "--yes")
    assert done.returncode == 0
    assert done.stdout.index("bad      firewall") < done.stdout.index("ok       firewall")
    assert line.firewall()
    assert "automatic fix" in line.run("doctor", "--fix").stderr, "there is nothing left to do"


def test_a_server_that_is_not_there_ends_with_3(line: CommandLine) -> None:
    line.node.variables["PROXMOX_PORT"] = "1"
    listed = line.run("ls", "--json")
    assert listed.returncode == 3
    server = json.loads(listed.stdout)
    assert server["state"] == "error" and "127.0.0.1" in server["error"]
    assert line.run("net", "ls").returncode == 3
