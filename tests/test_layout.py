"""Imports go down only; what each floor may know is read from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.paths import ROOT as REPOSITORY

ROOT = REPOSITORY / "proxy"

FLOORS = (
    {"errors", "clock", "globs", "owners", "slices", "leash", "tls", "breaker"},
    {"catalog", "yamldoc", "transport", "bodies"},
    {"dialects", "fields", "answers"},
    {"custom", "usage"},
    {"config", "failures"},
    {"rules", "access", "fetch", "configfile", "logins", "credentials", "line"},
    {"wire"},
    {"view"},
    {"store", "upstream", "exchange", "refusals", "findings"},
    {"forward"},
    {"api"},
    {"app", "demo", "protocol"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""From the ground up. A module imports from lower floors only; inside a package (`api`, `dialects`) without cycles."""

PURE = ["catalog", "rules", "dialects", "wire", "access", "errors", "globs", "owners", "config", "findings"]
PURE += ["bodies", "answers", "usage", "credentials"]
TOUCH_THE_MACHINE = {"configfile", "commands.check", "commands.serve", "commands.terminal"}


def module_name(path: Path) -> str:
    """`api.models` for proxy/api/models.py, "" for the package itself."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all modules that are imported, wherever in the file, also only for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports here are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("proxy.") in TREES else str(node.module)


def of_ours(tree: ast.AST) -> set[str]:
    names = {name.removeprefix("proxy.") for name in imported(tree) if name.startswith("proxy.")}
    return names & set(TREES)


def foreign(tree: ast.AST) -> set[str]:
    return {name.partition(".")[0] for name in imported(tree)} - {"proxy"}


OURS: Mapping[str, set[str]] = {name: of_ours(tree) for name, tree in TREES.items()}


def unit(name: str) -> str:
    """The module at the top level, or the package that a module is in."""
    return name.partition(".")[0]


FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def reached_from(name: str) -> set[str]:
    """All our modules that come along when one is imported, with those of its package."""
    waiting = [module for module in TREES if unit(module) == name]
    reached: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += OURS[module]
    return reached


def called(tree: ast.AST) -> set[str]:
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_every_module_has_its_floor() -> None:
    assert {unit(name) for name in TREES if name} == set(FLOOR)


@pytest.mark.parametrize("name", [name for name in TREES if name])
def test_imports_go_down_only(name: str) -> None:
    others = {other for other in OURS[name] if unit(other) != unit(name)}

    assert not {other for other in others if FLOOR[unit(other)] >= FLOOR[unit(name)]}


def test_nothing_imports_in_a_circle() -> None:
    assert len(list(TopologicalSorter(OURS).static_order())) == len(TREES)


@pytest.mark.parametrize("name", PURE)
def test_values_and_rules_know_no_network_and_no_event_loop(name: str) -> None:
    known = set().union(*(foreign(TREES[module]) for module in reached_from(name)))

    assert not known & {"httpx", "starlette", "aiohttp", "uvicorn", "asyncio", "anyio", "socket", "ssl", "threading"}


def test_the_store_knows_no_http() -> None:
    known = set().union(*(foreign(TREES[module]) for module in reached_from("store")))

    assert "asyncio" in known
    assert not known & {"httpx", "starlette", "uvicorn", "ssl", "socket"}


@pytest.mark.parametrize("name", [name for name in TREES if name not in TOUCH_THE_MACHINE])
def test_only_configfile_and_cli_touch_files_and_the_environment(name: str) -> None:
    assert not foreign(TREES[name]) & {"os", "pathlib", "shutil", "tempfile", "subprocess"}
    assert "open" not in called(TREES[name])


def test_only_app_builds_what_lives_and_everything_gets_its_clock() -> None:
    assert {name for name, tree in TREES.items() if called(tree) & {"Store", "Access", "Forwarder", "Usage"}} == {"app"}
    # check asks once, and keeps nothing
    assert {name for name, tree in TREES.items() if "Upstream" in called(tree)} == {"app", "commands.check"}
    assert {name for name, tree in TREES.items() if "SystemClock" in called(tree)} == {"app", "commands.check"}
    assert {name for name, tree in TREES.items() if "time" in foreign(tree)} == {"clock"}
