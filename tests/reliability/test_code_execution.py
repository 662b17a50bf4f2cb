"""No input is ever executed: the code contains nothing that could run it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.server import config_process
from tests.paths import ROOT

FILES = sorted((ROOT / "proxy").rglob("*.py"))
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "subprocess", "pty", "code", "codeop"}
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "execv", "execve", "spawnv", "posix_spawn", "fork"}
UNSAFE_YAML = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "UnsafeLoader",
               "FullLoader", "Loader", "CLoader", "UnsafeConstructor"}  # fmt: skip


def dangers(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            yield node.func.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "yaml" and node.attr in UNSAFE_YAML:
                yield f"yaml.{node.attr}"
            elif node.value.id in ("os", "builtins") and node.attr in CALLS:
                yield f"{node.value.id}.{node.attr}"


ALLOWED = {
    "proxy/server/config_process.py": ["subprocess"],
    "proxy/server/workers/fork.py": ["os.fork"],
    "proxy/server/workers/supervisor.py": ["fork"],
}
"""One module starts a process, whose command is constant: see `test_the_command_of_the_only_process_is_constant`. The
supervisor of workers copies itself; no other program is started."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_executes_no_data(path: Path) -> None:
    assert [*dangers(path.read_text(encoding="utf-8"))] == ALLOWED.get(path.relative_to(ROOT).as_posix(), [])


def test_the_command_of_the_only_process_is_constant() -> None:
    tree = ast.parse(Path(config_process.__file__).read_text(encoding="utf-8"))
    (program,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and _is_named(node, "_CHILD")]

    assert ast.literal_eval(program) == config_process.COMMAND[-1]
    assert config_process.COMMAND[:-1] == (sys.executable, "-P", "-c")


def _is_named(node: ast.Assign, name: str) -> bool:
    return isinstance(node.targets[0], ast.Name) and node.targets[0].id == name


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "eval(x)", "exec(x)", "yaml.load(x)", "yaml.load(x, yaml.Loader)",
     "import os\nos.system(x)", "import subprocess"],
)  # fmt: skip
def test_dangers_are_found(source: str) -> None:
    assert [*dangers(source)] != []
