"""No package imports from a floor above its own, and importing tnet stays light."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "contraction": {"contraction"},
    "tnet": {"contraction", "tnet"},
    "structure_search": {"contraction", "tnet", "structure_search"},
    "integrators": {"contraction", "tnet", "integrators"},
}
PEERS = {"quimb", "tenpy", "tltorch", "torchtt", "tntorch", "teneva", "pytreenet"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_floors(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        upward = imports(path) & set(MAY_IMPORT) - MAY_IMPORT[package]
        assert not upward, f"{path} imports {upward}, which stand on a higher floor"
        peers = imports(path) & PEERS
        at_home = path.name in ("convert.py", "convert_states.py")
        assert not peers or at_home, f"{path} imports the peers {peers}"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_modules_are_small(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        lines = len(path.read_text().splitlines())
        assert lines <= 400, f"{path} has {lines} lines; split it"


def test_importing_tnet_is_light() -> None:
    heavy = "{'torch', 'cupy', 'matplotlib', 'tensorly', 'cotengra', 'dask', 'quimb'}"
    code = f"import sys, tnet; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_public_name_hides_behind_a_module(package: str) -> None:
    module = importlib.import_module(package)
    names = set(getattr(module, "__all__", ()))
    modules = {path.stem for path in (ROOT / package).iterdir()}
    assert not names & modules, "importing the module would replace the public name"
    for name in names:
        assert getattr(module, name) is not None
    checked = {
        alias.asname
        for node in ast.walk(ast.parse((ROOT / package / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module != "contraction._lazy"
        for alias in node.names
        if node.module != "typing"
    }
    assert checked == names, "the type checker and the program see different public names"
