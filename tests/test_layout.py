"""Imports only go down, and packages import only what they are allowed to; both are read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.paths import ROOT as REPOSITORY

ROOT = REPOSITORY / "proxy"

LAYERS: tuple[Mapping[str, str], ...] = (
    {
        "errors": "what can go wrong, classed by what the reader can do about it",
        "clock": "where time comes from",
        "asgi": "the values that pass between the server, the gate and the endpoints",
        "backoff": "how long a failing provider is skipped",
        "patterns": "globs with `*` and `?`",
        "cooperative": "long work in short steps",
        "decoding": "JSON that may be anything -> a value, or None",
        "calls": "the calls that are forwarded: path, API, default model, end of a stream",
        "key_headers": "the headers in which clients send an API key",
        "guards": "names of fields in requests that select models or an upstream, or reference stored state",
        "states": "the vocabulary of provider states",
        "printable": "untrusted text made safe to print",
        "seams": "the switch from private parts of libraries to their public interfaces",
    },
    {"telemetry": "events, and what observes them"},
    {"dialects": "how providers write their lists -> `Entry`"},
    {"config": "`config.yaml` -> `Config`"},
    {
        "catalog": "from entries to a catalog, pure",
        "limits": "how much callers use, counted in windows of time, pure",
    },
    {
        "access": "who is asking, and what they may see and call",
        "wire": "the formats clients read: pure encoders, one module per format",
        "upstream": "all outgoing HTTP of the server; the only package that imports httpx or aiohttp",
        "sharing": "state shared with other processes; the only package that imports redis",
    },
    {
        "store": "provider states kept fresh, and the views of them",
        "inference": "one call: request -> routing -> failover -> response",
    },
    {"explain": "why a model is listed, hidden or called: explanations from the functions that decide"},
    {"api": "the endpoints: handlers next to their paths"},
    {"server": "the ASGI application, its HTTP protocol, its life cycle, the current deployment"},
    {"cli": "the command line, one module per command"},
    {"__main__": "`python -m proxy`"},
)
"""From the ground up: packages and single modules, each with its purpose. Imports go to lower layers only."""

PURE = ("dialects", "catalog", "limits", "access", "wire", "telemetry", "config")
"""Packages that use no network and no event loop (except for the loader of `config`, which reads files)."""
MAX_LINES = 320
"""Of a module: a longer one has several subjects."""
NETWORK = {"httpx", "starlette", "aiohttp", "uvicorn", "asyncio", "anyio", "socket", "ssl", "threading"}


def module_name(path: Path) -> str:
    """`api.models` for proxy/api/models.py, "" for the package itself."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all modules imported anywhere in a file, also for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports here are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("proxy.") in TREES else str(node.module)


def own(tree: ast.AST) -> set[str]:
    names = {name.removeprefix("proxy.") for name in imported(tree) if name.startswith("proxy.")}
    return names & set(TREES)


def foreign(tree: ast.AST) -> set[str]:
    return {name.partition(".")[0] for name in imported(tree)} - {"proxy"}


OWN: Mapping[str, set[str]] = {name: own(tree) for name, tree in TREES.items()}
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def unit(name: str) -> str:
    """The top-level module, or the package that contains a module."""
    return name.partition(".")[0]


def called(tree: ast.AST) -> set[str]:
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def importers(library: str) -> set[str]:
    return {name for name, tree in TREES.items() if library in foreign(tree)}


def test_every_module_has_a_layer() -> None:
    assert {unit(name) for name in TREES if name} == set(LAYER)


@pytest.mark.parametrize("name", [name for name in TREES if name])
def test_imports_go_down_only(name: str) -> None:
    others = {other for other in OWN[name] if other and unit(other) != unit(name)}

    assert not {other for other in others if LAYER[unit(other)] >= LAYER[unit(name)]}


def test_imports_have_no_cycle() -> None:
    modules = {name: {other for other in others if other not in PACKAGES} for name, others in OWN.items()}

    assert len(list(TopologicalSorter(modules).static_order())) == len(TREES)


PACKAGES = {module_name(path.parent / "__init__.py") for path in ROOT.rglob("__init__.py")}
"""Packages expose names of their own modules. Modules of a package import each other directly."""


@pytest.mark.parametrize("name", [name for name in TREES if name and name not in PACKAGES])
def test_modules_import_their_siblings_directly(name: str) -> None:
    assert unit(name) not in OWN[name]


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_use_no_network_and_no_event_loop(package: str) -> None:
    modules = [name for name in TREES if unit(name) == package and name not in READ_FILES]
    below = {other for name in modules for other in OWN[name]} | set(modules)

    assert not {(name, library) for name in below - READ_FILES for library in foreign(TREES[name]) & NETWORK}


READ_FILES = {"config.authorities", "config.contents", "config.files", "config.loader", "config.secret_files"}
"""Modules of `config` that read files: the file itself, certificates, which `ssl` parses, and files with secrets, which
are read again in threads."""


def test_store_uses_no_http_and_one_thread_for_files() -> None:
    modules = {name for name in TREES if unit(name) == "store" and name != "store.disk_thread"}

    assert not {(name, library) for name in modules for library in foreign(TREES[name]) & (NETWORK - {"asyncio"})}


def test_http_clients_are_imported_only_by_upstream_and_the_cli_client() -> None:
    assert {unit(name) for name in importers("aiohttp")} == {"upstream"}
    assert {unit(name) if unit(name) == "upstream" else name for name in importers("httpx")} == {
        "upstream",
        "cli.client",
    }


def test_only_one_module_imports_redis() -> None:
    assert importers("redis") == {"sharing.client"}


def test_only_the_signer_of_requests_imports_botocore() -> None:
    assert importers("botocore") == {"upstream.aws"}


def test_uvicorn_is_imported_only_by_the_server_and_the_demo() -> None:
    assert {name for name in importers("uvicorn") if unit(name) != "server"} == {"cli.demo.upstreams"}


TOUCH_THE_MACHINE = {
    "config.authorities",
    "config.contents",
    "config.files",
    "config.loader",
    "config.secret_files",
    "config.sources",
    "server.config_process",
    "server.listeners",
    "server.output",
    "server.process",
    "server.process_setup",
    "server.systemd",
    "server.workers.fork",
    "store.disk",
    "cli.check",
    "cli.explain",
    "cli.health",
    "cli.key_files",
    "cli.keys",
    "cli.replace_file",
    "cli.serve",
    "cli.serve_workers",
    "cli.terminal",
    "cli.startup",
    "cli.top.screen",
    "seams",
}


@pytest.mark.parametrize("name", [name for name in TREES if name not in TOUCH_THE_MACHINE])
def test_files_and_environment_are_used_only_by_the_loader_and_the_process(name: str) -> None:
    assert not foreign(TREES[name]) & {"os", "pathlib", "shutil", "tempfile", "subprocess"}
    assert "open" not in called(TREES[name])


def test_only_the_deployment_creates_stateful_objects_and_clocks_are_injected() -> None:
    def builders(*classes: str) -> set[str]:
        return {name for name, tree in TREES.items() if called(tree) & set(classes)}

    assert builders("Store", "Access", "Forwarder") == {"server.deployment"}
    # These survive a change of the configuration
    assert builders("Ledger") == {"server.shared"}
    assert builders("Telemetry") == {"server.app"}
    # `check` fetches every list once and keeps no state
    assert builders("ListFetcher") == {"server.deployment", "cli.check_fetch"}
    assert builders("SystemClock") == {"server.app", "cli.check"}
    assert {name for name, tree in TREES.items() if "time" in foreign(tree)} == {"clock"}


def test_no_module_is_longer_than_320_lines() -> None:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in ROOT.rglob("*.py")}
    too_long = {module_name(path): number for path, number in lines.items() if number > MAX_LINES}

    assert not too_long, f"divide each by subject into modules of at most {MAX_LINES} lines: {too_long}"


def test_package_map_in_contributing_is_current() -> None:
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [
        f"| {number} | `{name}` | {purpose} |"
        for number, names in reversed(list(enumerate(LAYERS, start=1)))
        for name, purpose in names.items()
    ]

    assert "\n".join(["| layer | package | what it is |", "|---|---|---|", *rows]) in guide
