"""Reloads of a configuration of several files, and of a large one, by the real process."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.processes import until
from tests.server.test_reload import ALICE, BOB, KEYS, Server, config, key, lab, served, upstreams

__all__ = ["config", "upstreams"]
MAIN = "include: [keys/*.yaml]\n" + lab("m") + KEYS


def status(server: Server, secret: str) -> int:
    return server.get("/v1/models", secret).status_code


def write(folder: Path, name: str, text: str) -> None:
    """Write a file as a whole: elsewhere, then renamed."""
    (folder / "new").write_text(text)
    (folder / "new").rename(folder / name)


def test_new_removed_and_bad_files_of_a_pattern_are_applied_or_refused(config: Path) -> None:
    folder = config.with_name("keys")
    folder.mkdir()
    write(folder, "alice.yaml", "keys:\n" + key("alice", ALICE))
    with served(config, MAIN) as server:
        assert (status(server, ALICE), status(server, BOB)) == (200, 401)
        write(folder, "bob.yaml", "keys:\n" + key("bob", BOB))
        until(lambda: status(server, BOB) == 200)
        write(folder, "bob.yaml", "keys:\n" + key("alice", BOB))
        until(lambda: server.configuration["problems"] != [])
        assert server.configuration["problems"] == [
            f"{folder}/bob.yaml:2: keys[0].name: duplicate name 'alice', also at {folder}/alice.yaml:2; names must be "
            "unique"
        ]
        assert (status(server, ALICE), status(server, BOB)) == (200, 200)
        (folder / "bob.yaml").unlink()
        until(lambda: status(server, BOB) == 401)
        assert (server.configuration["problems"], status(server, ALICE)) == ([], 200)
        (folder / "alice.yaml").unlink()
        until(lambda: server.configuration["problems"] != [])
        (problem,) = server.configuration["problems"]
        assert problem.startswith(f"{config}:1: include[0]: matches no file in {config.parent}")
        assert status(server, ALICE) == 200


def test_keys_in_a_volume_of_kubernetes_are_replaced_together(config: Path) -> None:
    """`keys/a.yaml -> ..data/a.yaml`, and `..data` is replaced as a whole."""
    folder = config.with_name("keys")
    for version, secret in (("..2027", ALICE), ("..2028", BOB)):
        (folder / version).mkdir(parents=True)
        (folder / version / "a.yaml").write_text("keys:\n" + key("client", secret))
    (folder / "..data").symlink_to("..2027")
    (folder / "a.yaml").symlink_to("..data/a.yaml")
    with served(config, MAIN) as server:
        assert (status(server, ALICE), status(server, BOB)) == (200, 401)
        (folder / "..new").symlink_to("..2028")
        (folder / "..new").replace(folder / "..data")
        until(lambda: status(server, BOB) == 200)

        assert status(server, ALICE) == 401


def test_key_is_added_to_and_removed_from_thousands(config: Path) -> None:
    many = "".join(
        f"  - {{name: key-{number}, hash: 'sha256:{hashlib.sha256(b'key-%d' % number).hexdigest()}', models: [m]}}\n"
        for number in range(2000)
    )
    with served(config, lab("m") + KEYS + many) as server:
        first = server.configuration["generation"]
        server.write(lab("m") + KEYS + many + key("alice", ALICE))
        until(lambda: status(server, ALICE) == 200)
        assert server.configuration["generation"] != first
        server.write(lab("m") + KEYS + many + key("alice", ALICE) + key("alice", BOB))
        until(lambda: server.configuration["problems"] != [])
        assert server.configuration["problems"] == [
            f"{config}:2006: keys[2002].name: duplicate name 'alice', also at {config}:2005; names must be unique"
        ]
        server.write(lab("m") + KEYS + many)
        until(lambda: status(server, ALICE) == 401)

        assert (server.configuration["generation"], server.configuration["problems"]) == (first, [])
