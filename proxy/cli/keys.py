"""`models-proxy keys`: add, list, revoke and rotate the API keys of clients in a configuration file."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from proxy.cli.check_report import print_json
from proxy.cli.key_edits import Entry, KeyFile, NotEditable, digests
from proxy.cli.keygen import generate, problem_of
from proxy.cli.replace_file import locked, read_file
from proxy.cli.terminal import Failure, err, out, show_table
from proxy.cli.text import available
from proxy.config import Config, ConfigError, document, parse
from proxy.config.fields import Day
from proxy.config.hints import did_you_mean

_DEFAULT = Path("config.yaml")
_ACTIVE = "The server uses the change within seconds, or after `models-proxy reload` if it does not watch its files."
_DAY: TypeAdapter[date] = TypeAdapter(Day)
_NAME = click.argument("name")
_FILE = click.option(
    "--file", "path", type=click.Path(path_type=Path), default=_DEFAULT, show_default=True,
    help="The configuration file to edit.",
)  # fmt: skip


@click.group()
def keys() -> None:
    """Add, list, revoke and rotate API keys of clients.

    The commands edit `keys:` in the configuration file, which contains only digests of keys. Comments and layout stay
    as they are. The file is replaced at once, and only if the new one is valid.

    Each change prints one line to stderr, with the time, the user, the change and the file.

    \b
    Exit code: 0  done
               1  no such key, or the name exists; the file cannot be
                  changed, or would not be valid
               2  usage error

    \b
    Examples:
      models-proxy keys add alice --group staff
      models-proxy keys list
      models-proxy keys rotate alice           add a second key
      models-proxy keys revoke alice --old     remove the first one
      models-proxy keys revoke alice           remove the client
    """


@keys.command()
@_NAME
@click.option("--group", help="Group whose access rules apply.")
@click.option(
    "--models", metavar="RULES", multiple=True,
    help="Access rules, separated by commas; can be repeated. They replace those of the group.",
)  # fmt: skip
@click.option("--expires", metavar="DATE", help="Last day on which the key is valid (until the end of the day, UTC).")
@click.option("--admin", is_flag=True, help="Allow admin endpoints, and show the details of each provider in /health.")
@_FILE
def add(name: str, group: str | None, models: Sequence[str], expires: str | None, admin: bool, path: Path) -> None:
    """Add a client, and print its key once.

    Only the key is printed to stdout; everything else to stderr.

    \b
    Examples:
      models-proxy keys add alice --group staff
      models-proxy keys add ci --models 'gpt-4o,owner:lab' --expires 2099-01-31
      models-proxy keys add ops --group staff --admin
      models-proxy keys add bob --group staff > bob.key
    """
    if problem := problem_of(name):
        raise click.BadParameter(problem, param_hint="'NAME'")
    if not group and not models:
        raise click.UsageError("one of --group and --models is required.")
    key, digest = generate()
    entry: dict[str, Any] = {
        "name": name,
        "hash": digest,
        **({"group": group} if group else {}),
        **({"models": [rule.strip() for rules in models for rule in rules.split(",")]} if models else {}),
        **({"expires": _day(expires)} if expires else {}),
        **({"admin": True} if admin else {}),
    }

    is_first = False

    def change(file: KeyFile) -> KeyFile:
        nonlocal is_first
        is_first = not file.entries
        if name in _names(file):
            hint = f"use another name, or add a second key: models-proxy keys rotate {name}{_option(path)}"
            raise Failure(f"{path} already has a key {name}; {hint}")
        return file.with_key(entry)

    config = _edit(path, change)
    _audit(f"added {name}", path, digest)
    _show(key, name, path)
    if is_first and len(config.keys) == 1:
        err().print("This is the first key: from now on, other keys are rejected.")
        for warning in config.warnings:
            err().print(f"warning: {warning}")


@keys.command()
@_NAME
@_FILE
def rotate(name: str, path: Path) -> None:
    """Add a new key for an existing client, and print it once. The old one stays valid.

    Both keys are the same client, until `models-proxy keys revoke NAME --old` removes the old one. Only the key is
    printed to stdout; everything else to stderr.

    \b
    Examples:
      models-proxy keys rotate alice
      models-proxy keys revoke alice --old     when alice uses the new key
    """
    key, digest = generate()

    def change(file: KeyFile) -> KeyFile:
        entry = _find(name, file, path)
        _require_digest(entry, path)
        return file.with_digest(entry, digest)

    _edit(path, change)
    _audit(f"added a key of {name}", path, digest)
    _show(key, name, path)
    err().print(f"When the client uses it, remove the old one: models-proxy keys revoke {name} --old{_option(path)}")


@keys.command()
@_NAME
@click.option("--old", is_flag=True, help="Remove only the old keys of this client, and keep the newest.")
@_FILE
def revoke(name: str, old: bool, path: Path) -> None:
    """Remove a client with all its keys; with --old only its old keys.

    Calls in progress are completed.

    \b
    Examples:
      models-proxy keys revoke alice
      models-proxy keys revoke alice --old
    """

    def change(file: KeyFile) -> KeyFile:
        entry = _find(name, file, path)
        if not old:
            return file.without_key(entry)
        _require_digest(entry, path)
        if len(digests(entry)) == 1:
            hint = f"to remove the client, run: models-proxy keys revoke {name}{_option(path)}"
            raise Failure(f"{name} has no old key; {hint}")
        return file.without_old_digests(entry)

    _edit(path, change)
    _audit(f"removed the old keys of {name}" if old else f"removed {name}", path)
    err().print(_ACTIVE)


@keys.command("list")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
def list_keys(path: Path, as_json: bool) -> None:
    """List the clients and their number of keys. Digests are not shown.

    \b
    Examples:
      models-proxy keys list
      models-proxy keys list --json | jq -r '.keys[] | select(.expired).name'

    \b
    --json: an object with these stable fields; more may be added:
      file  the file
      keys  [{name, group, models, expires, expired, admin, digests}], in the
            order of the file; group, models and expires can be null;
            digests: number of keys, 0 if the key is in an environment
            variable
    """
    file = _key_file(read_file(path, document.MAX_BYTES), path)
    entries = [_described(entry) for entry in file.entries]
    if as_json:
        print_json({"file": str(path), "keys": entries})
    elif entries:
        columns = [("name", "fold"), ("group", "fold"), ("models", "fold"), ("expires", "left"), ("admin", "left")]
        show_table(out(), [*columns, ("keys", "right")], [_row(entry) for entry in entries])
    else:
        click.echo(f"no keys in {path}", err=True)


def _described(entry: Entry) -> dict[str, Any]:
    expires = entry.get("expires")
    return {
        "name": str(entry.get("name")),
        "group": entry.get("group"),
        "models": entry.get("models"),
        "expires": None if expires is None else str(expires),
        "expired": str(expires) < _today().isoformat() if expires else False,
        "admin": entry.get("admin") is True,
        "digests": len(digests(entry)),
    }


def _row(key: dict[str, Any]) -> Sequence[str]:
    expires = (key["expires"] or "-") + " (expired)" * key["expired"]
    rules = "of the group" if key["models"] is None else ", ".join(map(str, key["models"])) or "none"
    return (
        key["name"],
        key["group"] or "-",
        rules,
        expires,
        "yes" if key["admin"] else "-",
        str(key["digests"] or "variable"),
    )


# -- editing -----------------------------------------------------------------------------------------------------------


def _edit(path: Path, change: Callable[[KeyFile], KeyFile]) -> Config:
    """Change the file. Returns the new configuration. Raises Failure, and then nothing has changed."""
    with locked(path, document.MAX_BYTES) as file:
        old = _key_file(file.content, path)
        try:
            new = change(old)
        except NotEditable:
            hint = "it uses anchors, aliases or merge keys there, or a layout that is not supported; edit it by hand"
            raise Failure(f"cannot edit `keys` in {path}: {hint}") from None
        config = _checked(new, old, path)
        file.replace(new.text.encode())
    return config


def _checked(new: KeyFile, old: KeyFile, path: Path) -> Config:
    """The configuration in the new file. Raises Failure if it is not valid."""
    try:
        config = _parsed(new, path)
    except ConfigError as error:
        problem = error
    else:
        if not new.entries:
            hint = "without keys, the proxy would accept every request; add another key first"
            raise Failure(f"nothing was changed: this is the last key of {path}; {hint}")
        return config
    try:
        _parsed(old, path)
    except ConfigError as error:
        raise Failure(f"nothing was changed: fix the file first: {error}") from None
    raise Failure(f"nothing was changed: after this change, {problem}")


def _parsed(file: KeyFile, path: Path) -> Config:
    """Variables and files with secrets can be missing here: the server may run as another user."""
    return parse(file.text, str(path), os.environ, offline=True)


def _key_file(content: bytes, path: Path) -> KeyFile:
    try:
        return KeyFile(content.decode(), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    except ConfigError as error:
        raise Failure(str(error)) from None
    raise Failure(f"{path}:{line}: contains bytes that are not UTF-8; save the file as UTF-8")


def _names(file: KeyFile) -> list[str]:
    return [str(entry.get("name")) for entry in file.entries]


def _find(name: str, file: KeyFile, path: Path) -> Entry:
    if match := [entry for entry in file.entries if entry.get("name") == name]:
        return match[0]
    names = _names(file)
    raise Failure(f"{path} has no key {name}{did_you_mean(name, names) or f'; {available(names)}'}")


def _require_digest(entry: Entry, path: Path) -> None:
    if not digests(entry):
        hint = "change the variable instead"
        raise Failure(f"the key of {entry['name']} is in an environment variable (`key:` in {path}); {hint}")


def _day(text: str) -> date:
    try:
        day = _DAY.validate_python(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(reason, param_hint="'--expires'") from None
    if day < _today():
        raise click.BadParameter("is in the past", param_hint="'--expires'")
    return day


def _today() -> date:
    return datetime.now(UTC).date()


# -- output ------------------------------------------------------------------------------------------------------------


def _audit(what: str, path: Path, digest: str = "") -> None:
    """One line for the log of whoever runs this command: when, who, what, where; never a key."""
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    suffix = f" ({digest[:15]}...)" if digest else ""
    click.echo(f"{time} keys: {_user()} {what} in {path.resolve()}{suffix}", err=True)


def _user() -> str:
    """The user of this process, and who called sudo. Both are names of the system, not of the environment."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    return name + (f" (sudo of {os.environ['SUDO_USER']})" if os.environ.get("SUDO_USER") else "")


def _show(key: str, name: str, path: Path) -> None:
    err().print("New API key (shown once; store it now):")
    try:
        click.echo(key)
        sys.stdout.flush()
    except OSError as error:
        hint = f"remove it: models-proxy keys revoke {name}{_option(path)}"
        raise Failure(f"the key was added but could not be printed ({error.strerror}); {hint}") from None
    err().print(_ACTIVE)


def _option(path: Path) -> str:
    return "" if path == _DEFAULT else f" --file {shlex.quote(str(path))}"
