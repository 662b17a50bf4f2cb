"""`models-proxy keys`: add, list, revoke and rotate the API keys of clients in a configuration file."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from proxy.cli.key_edits import KeyFile, digests, entries_of
from proxy.cli.key_files import DEFAULT, Place, documents_of, edit, file_of, find_key, names_of, require_digest
from proxy.cli.key_table import described, table, today
from proxy.cli.keygen import generate, problem_of
from proxy.cli.terminal import Failure, err, out, print_json, show_table
from proxy.config.addresses import network
from proxy.config.fields import Day, FirstDay

_ACTIVE = "The server applies the change within seconds; at once after `models-proxy reload`."
_DAY: TypeAdapter[date] = TypeAdapter(Day)
_FIRST_DAY: TypeAdapter[date] = TypeAdapter(FirstDay)
_NAME = click.argument("name")
_CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), default=DEFAULT, show_default=True, help="The main file.",
)  # fmt: skip
_FILE = click.option(
    "--file", type=click.Path(path_type=Path),
    help="The file with the keys, if it is not the main file: one that the main file includes.",
)  # fmt: skip


@click.group()
def keys() -> None:
    """Add, list, revoke and rotate API keys of clients.

    The commands edit `keys:` in the configuration file, which contains only digests of keys. Comments and layout stay
    as they are. The file is replaced at once, and only if the whole configuration is then valid. Keys in included files
    are found by their name.

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
@click.option("--not-before", metavar="DATE", help="First day on which the key is valid (from 00:00 UTC).")
@click.option(
    "--allow-ip", "allowed_ips", metavar="NETWORK", multiple=True,
    help="Network or address from which the key can be used; can be repeated. Default: any address.",
)  # fmt: skip
@click.option("--admin", is_flag=True, help="Allow admin endpoints, and show the details of each provider in /health.")
@_CONFIG
@_FILE
def add(
    name: str,
    group: str | None,
    models: Sequence[str],
    expires: str | None,
    not_before: str | None,
    allowed_ips: Sequence[str],
    admin: bool,
    config: Path,
    file: Path | None,
) -> None:
    """Add a client, and print its key once.

    Only the key is printed to stdout; everything else to stderr.

    \b
    Examples:
      models-proxy keys add alice --group staff
      models-proxy keys add ci --models 'gpt-4o,owner:lab' --expires 2099-01-31
      models-proxy keys add office --group staff --allow-ip 192.0.2.0/24
      models-proxy keys add ops --group staff --admin --file keys/ops.yaml
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
        **({"not_before": _first_day(not_before)} if not_before else {}),
        **({"expires": _day(expires)} if expires else {}),
        **({"allowed_ips": [_network(each) for each in allowed_ips]} if allowed_ips else {}),
        **({"admin": True} if admin else {}),
    }

    place = Place(config, file)

    def change(keys: KeyFile, path: Path) -> KeyFile:
        if name in names_of(keys.entries):
            hint = f"use another name, or add a second key: models-proxy keys rotate {name}{place.options}"
            raise Failure(f"{path} already has a key {name}; {hint}")
        return keys.with_key(entry)

    edited = edit(place, file or config, change)
    _audit(f"added {name}", edited.path, digest)
    _show(key, name, place)
    if edited.is_first:
        err().print("This is the first key: from now on, other keys are rejected.")
        for warning in edited.warnings:
            err().print(f"warning: {warning}")


@keys.command()
@_NAME
@_CONFIG
@_FILE
def rotate(name: str, config: Path, file: Path | None) -> None:
    """Add a new key for an existing client, and print it once. The old one stays valid.

    Both keys are the same client, until `models-proxy keys revoke NAME --old` removes the old one. Only the key is
    printed to stdout; everything else to stderr.

    \b
    Examples:
      models-proxy keys rotate alice
      models-proxy keys revoke alice --old     when alice uses the new key
    """
    place = Place(config, file)
    key, digest = generate()

    def change(keys: KeyFile, path: Path) -> KeyFile:
        entry = find_key(name, keys.entries, path)
        require_digest(entry, path)
        return keys.with_digest(entry, digest)

    edited = edit(place, file_of(name, place), change)
    _audit(f"added a key of {name}", edited.path, digest)
    _show(key, name, place)
    err().print(f"When the client uses it, remove the old one: models-proxy keys revoke {name} --old{place.options}")


@keys.command()
@_NAME
@click.option("--old", is_flag=True, help="Remove only the old keys of this client, and keep the newest.")
@_CONFIG
@_FILE
def revoke(name: str, old: bool, config: Path, file: Path | None) -> None:
    """Remove a client with all its keys; with --old only its old keys.

    Calls in progress are completed.

    \b
    Examples:
      models-proxy keys revoke alice
      models-proxy keys revoke alice --old
    """

    place = Place(config, file)

    def change(keys: KeyFile, path: Path) -> KeyFile:
        entry = find_key(name, keys.entries, path)
        if not old:
            return keys.without_key(entry)
        require_digest(entry, path)
        if len(digests(entry)) == 1:
            hint = f"to remove the client, run: models-proxy keys revoke {name}{place.options}"
            raise Failure(f"{name} has no old key; {hint}")
        return keys.without_old_digests(entry)

    edited = edit(place, file_of(name, place), change)
    _audit(f"removed the old keys of {name}" if old else f"removed {name}", edited.path)
    err().print(_ACTIVE)


@keys.command("list")
@_CONFIG
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
def list_keys(config: Path, file: Path | None, as_json: bool) -> None:
    """List the clients and their number of keys. Digests are not shown.

    \b
    Examples:
      models-proxy keys list
      models-proxy keys list --json | jq -r '.keys[] | select(.expired).name'

    \b
    --json: an object with these stable fields; more may be added:
      keys  [{name, group, models, not_before, expires, expired, allowed_ips,
            admin, limits, digests, file}], in the order of the files; group,
            models, not_before, expires, allowed_ips and limits can be null;
            limits: as written at the key;
            digests: number of keys, 0 if the key is in an environment
            variable
    """
    documents = documents_of(Place(config, file))
    listed = [described(entry, each.path) for each in documents for entry in entries_of(each.value)]
    if as_json:
        print_json({"keys": listed})
    elif listed:
        show_table(out(), *table(listed))
    else:
        click.echo(f"no keys in {documents[0].path}", err=True)


def _day(text: str) -> date:
    day = _valid(_DAY, text, "--expires")
    if day < today():
        raise click.BadParameter("is in the past", param_hint="'--expires'")
    return day


def _first_day(text: str) -> date:
    return _valid(_FIRST_DAY, text, "--not-before")


def _network(text: str) -> str:
    try:
        return network(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}", param_hint="'--allow-ip'") from None


def _valid(type_: TypeAdapter[date], text: str, option: str) -> date:
    try:
        return type_.validate_python(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(reason, param_hint=f"'{option}'") from None


# -- output ------------------------------------------------------------------------------------------------------------


def _audit(what: str, path: Path, digest: str = "") -> None:
    """One line for the log of the person who runs this command: when, who, what, where; never a key."""
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


def _show(key: str, name: str, place: Place) -> None:
    err().print("New API key (shown once; store it now):")
    try:
        click.echo(key)
        sys.stdout.flush()
    except OSError as error:
        hint = f"remove it: models-proxy keys revoke {name}{place.options}"
        raise Failure(f"the key was added but could not be printed ({error.strerror}); {hint}") from None
    err().print(_ACTIVE)
