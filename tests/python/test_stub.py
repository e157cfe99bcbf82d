"""The types that mypy sees are those of the module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import proxmoxsandbox

core = pytest.importorskip("proxmoxsandbox._core")
if not hasattr(core, "check_spec"):
    pytest.skip("the extension module is not built", allow_module_level=True)

STUB = ast.parse((Path(proxmoxsandbox.__path__[0]) / "_core.pyi").read_text())


def names(nodes: list[ast.stmt]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def test_the_stub_names_what_the_module_has() -> None:
    public = {name for name in vars(core) if not name.startswith("_")}
    assert names(STUB.body) == public


@pytest.mark.parametrize("name", ["Core", "Operation", "Sandbox", "Vm"])
def test_the_stub_names_what_a_class_has(name: str) -> None:
    (node,) = (item for item in STUB.body if isinstance(item, ast.ClassDef) and item.name == name)
    public = {item for item in vars(getattr(core, name)) if not item.startswith("_")}
    assert names(node.body) - {"__init__"} == public


@pytest.mark.parametrize(
    ("spec", "says"),
    [("{", "JSON"), ('{"vms_config": []}', "vms_config"), ('{"hots": "x"}', "hots")],
)
def test_the_core_refuses_by_its_error(spec: str, says: str) -> None:
    with pytest.raises(core.CoreError) as caught:
        core.check_spec(spec)
    assert caught.value.kind == "bad_input"
    assert says in caught.value.message and caught.value.partial_output == b""
