"""config.yaml -> Config: all settings are validated, and all problems are reported at once.

`read` reads the file and the environment; `parse` takes them as arguments.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from proxy.config import document as yaml_document
from proxy.config import secret_files
from proxy.config.auth_section import auth_of, has_logins
from proxy.config.authorities import check_authority, check_certificate
from proxy.config.contents import Content, content, content_of_pipe, is_pipe
from proxy.config.defaults import Cache, Defaults
from proxy.config.document import MOST, Size
from proxy.config.documents import SECTIONS, Documents
from proxy.config.facts_setting import facts_of
from proxy.config.files import read_files, with_included
from proxy.config.hints import LITELLM, did_you_mean
from proxy.config.keys import Members, members_of
from proxy.config.logs import Logging
from proxy.config.notify_section import webhooks_of
from proxy.config.places import Places
from proxy.config.problems import ConfigError
from proxy.config.provider_settings import Provider
from proxy.config.providers import Providers
from proxy.config.routing import RoutingRule, VirtualModel
from proxy.config.server import Server
from proxy.config.settings import Config, Group, Merge, OwnerRule
from proxy.config.sources import SourceLog
from proxy.config.store_section import store_of
from proxy.config.tracing_section import tracing_of
from proxy.config.validation import Validation


def read(path: Path, environ: Mapping[str, str] | None = None, *, offline: bool = False) -> Config:
    """The configuration in a file and those that it includes. Raises ConfigError with all problems.

    `offline`: see `parse`.
    """
    return _read(str(path), environ, content_of_pipe, offline=offline)[1]


def read_again(path: str, most: Size = MOST) -> tuple[Documents, Config]:
    """Read a configuration while another one is in use. Returns its documents, too. Raises ConfigError.

    `most`: raise LargeConfiguration before more than this is parsed.
    """
    return _read(path, None, content, most)


def _read(
    path: str, environ: Mapping[str, str] | None, read_main: Content, most: Size = MOST, *, offline: bool = False
) -> tuple[Documents, Config]:
    log = SourceLog(() if is_pipe(path) else (path,))
    try:
        documents = read_files(path, os.environ if environ is None else environ, log, read_main, most)
        return documents, of_documents(documents, log, offline=offline)
    except ConfigError as error:
        error.sources = log.sources()
        raise


def parse(
    text: str,
    path: str = "config.yaml",
    environ: Mapping[str, str] | None = None,
    read_secret: Callable[[str], str] | None = None,
    is_installed: Callable[[str], bool] | None = None,
    *,
    offline: bool = False,
) -> Config:
    """The configuration in a text, and in the files that it includes. Raises ConfigError.

    `path`: of the text. `read_secret` reads a file with a secret; `is_installed` returns whether an optional library is
    installed.

    `offline`: check a configuration where its secrets are not available. A variable that is not set, and a file that
    cannot be read, are warnings instead of problems. Providers and keys with such a variable are checked, but not
    contained in the result, which must not be served.
    """
    log = SourceLog()
    documents = with_included(yaml_document.read(text, path, environ or {}), environ or {}, log)
    return of_documents(documents, log, read_secret, is_installed, offline=offline)


def of_documents(
    documents: Documents,
    log: SourceLog,
    read_secret: Callable[[str], str] | None = None,
    is_installed: Callable[[str], bool] | None = None,
    *,
    offline: bool = False,
    members: Members | None = None,
) -> Config:
    """The configuration in files. Raises ConfigError. `members`: those of the files, if they are validated already."""
    validation = Validation(documents, log, offline=offline)
    raw = documents.value
    config = _config(validation, raw, read_secret or secret_files.read_secret, is_installed or _is_installed, members)
    if config is None:
        raise ConfigError(documents.path, set(documents.problems))
    return replace(config, sources=log.sources(), places=Places.of(documents.files))


def _config(
    validation: Validation,
    raw: Any,
    read_secret: Callable[[str], str],
    is_installed: Callable[[str], bool],
    members: Members | None,
) -> Config | None:
    """None if the document has a problem."""
    if not isinstance(raw, dict):
        validation.problem((), "must contain settings (`providers:` ...); start from the shipped config.yaml")
        return None
    if "model_list" in raw and "providers" not in raw:
        validation.problem(("model_list",), LITELLM)
        return None
    for unknown in raw.keys() - set(SECTIONS):
        if not yaml_document.is_extension((unknown,)):
            validation.unknown((unknown,), SECTIONS)
    server = validation.section(Server, raw, "server")
    _check_body_memory(validation, server)
    check_certificate(validation, server.tls if server else None)
    logging = validation.section(Logging, raw, "logging")
    store = store_of(validation, raw, read_secret, is_installed)
    facts = facts_of(validation, raw, is_installed)
    tracing = tracing_of(validation, raw)
    notify = webhooks_of(validation, raw, read_secret)
    merge = validation.section(Merge, raw, "merge")
    _check_inherited(validation, raw)
    owners = _owners(validation, raw)
    models = _virtual_models(validation, raw)
    routing = _routing(validation, raw)
    groups, keys = members or members_of(validation, raw)
    auth = auth_of(validation, raw, groups, read_secret)
    _warn_of_anonymous(validation, raw, groups)
    providers = Providers(validation, raw, read_secret, is_installed)
    _check_ready(validation, raw, server)
    _check_workers(validation, server, providers.listed)
    for path in validation.documents.unset:
        if not providers.is_skipped(path) and not yaml_document.is_extension(path):
            validation.unset(path)
    if validation.documents.problems:
        return None
    # Without a problem a section can only be None because of a variable that is not set (`offline`).
    server, merge = server or Server(), merge or Merge()
    return Config(
        server,
        merge,
        owners,
        providers.listed,
        groups,
        keys,
        providers.skipped,
        validation.warnings,
        models,
        routing,
        logging or Logging(),
        store,
        facts,
        auth,
        notify,
        tracing,
        unchecked=validation.unchecked,
    )


def _check_body_memory(validation: Validation, server: Server | None) -> None:
    """A key can have half of the memory: a longer body could never be read."""
    if server and server.limits.body_memory < 2 * server.max_request * server.workers:
        per_worker = " for each of the `server.workers`" if server.workers > 1 else ""
        text = f"must be at least twice `server.max_request`{per_worker}; raise it, or lower `server.max_request`"
        validation.problem(("server", "limits", "body_memory"), text)


def _check_workers(validation: Validation, server: Server | None, providers: Sequence[Provider]) -> None:
    """Each worker gets a part of these limits: with nothing it could not serve anyone."""
    workers = server.workers if server else 1
    text = f"must be at least `server.workers` ({workers}), between which it is divided; raise it, or lower `workers`"
    if server and server.limits.connections < workers:
        validation.problem(("server", "limits", "connections"), text)
    scarce = [provider.name for provider in providers if provider.max_in_flight < workers]
    for path, value in validation.entries(validation.documents.value, "providers") if scarce else ():
        if isinstance(value, dict) and value.get("name") in scarce:
            validation.problem(validation.origin((*path, "max_in_flight")), text)


def _check_ready(validation: Validation, raw: Mapping[str, Any], server: Server | None) -> None:
    """With a misspelled name the proxy would never be ready."""
    names = [value.get("name") for _, value in validation.entries(raw, "providers") if isinstance(value, dict)]
    known = [name for name in names if isinstance(name, str)]
    for index, name in enumerate(server.ready if server and isinstance(server.ready, tuple) else ()):
        if name not in known:
            validation.problem(("server", "ready", index), f"no such provider{did_you_mean(name, known)}")


def _warn_of_anonymous(validation: Validation, raw: Mapping[str, Any], groups: Mapping[str, Group]) -> None:
    """Adding the first key does not remove the models of the group `default` from requests without a key.

    Setting `call` there confirms that this is intended.
    """
    group = groups.get("default")
    has_callers = raw.get("keys") or has_logins(raw)
    if has_callers and group and group.call is None and any(not rule.startswith("!") for rule in group.models):
        text = (
            "requests without a key can still list the models of this group; remove it, or add `call: false` to keep it"
        )
        validation.warn(("groups", "default"), text)


def _check_inherited(validation: Validation, raw: Mapping[str, Any]) -> None:
    """Validate `cache` and `defaults`, even if every provider overrides them."""
    validation.section(Cache, raw, "cache")
    defaults = validation.section(Defaults, raw, "defaults")
    check_authority(validation, defaults and defaults.ca_file, ("defaults", "ca_file"))


def _owners(validation: Validation, raw: Mapping[str, Any]) -> tuple[OwnerRule, ...]:
    rules = []
    for path, value in validation.entries(raw, "owners"):
        if rule := validation.valid(OwnerRule, value, path):
            validation.warn_of_brackets(rule.match, (*path, "match"))
            rules.append(rule)
    return tuple(rules)


def _virtual_models(validation: Validation, raw: Mapping[str, Any]) -> tuple[VirtualModel, ...]:
    entries = [(path, validation.valid(VirtualModel, value, path)) for path, value in validation.entries(raw, "models")]
    models = [(path, model) for path, model in entries if model]
    ids: dict[str, yaml_document.Path] = {}
    for path, model in models:
        first = ids.setdefault(model.id, path)
        if first != path:
            place = validation.documents.place(first)
            validation.problem((*path, "id"), f"duplicate id {model.id!r}, also at {place}; ids must be unique")
    for path, model in models:
        for index, target in enumerate(model.targets):
            where = (*path, "targets", index)
            if target in ids and target != model.id:
                validation.problem(
                    where, "is a virtual model; a target must be the id of a model that a provider lists"
                )
            elif target in model.targets[:index]:
                validation.problem(where, f"duplicate target {target!r}; remove one")
    return tuple(model for _, model in models)


def _routing(validation: Validation, raw: Mapping[str, Any]) -> tuple[RoutingRule, ...]:
    rules = []
    for path, value in validation.entries(raw, "routing"):
        if rule := validation.valid(RoutingRule, value, path):
            validation.warn_of_brackets(rule.match, (*path, "match"))
            rules.append(rule)
    return tuple(rules)


def _is_installed(library: str) -> bool:
    return find_spec(library) is not None
