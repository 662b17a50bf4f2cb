"""Check the section `notify`, across its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proxy.config.authorities import check_authority
from proxy.config.document import Path
from proxy.config.notify import Webhook, signing_secret
from proxy.config.secret_settings import secret_in
from proxy.config.validation import Validation

_INHERITED = ("proxy", "ca_file")
"""Settings whose default is that of `defaults`."""


def webhooks_of(
    validation: Validation, raw: Mapping[str, Any], read_secret: Callable[[str], str]
) -> tuple[Webhook, ...]:
    """The receivers, with the secrets in their files."""
    return tuple(_webhooks(validation, raw, read_secret))


def _webhooks(validation: Validation, raw: Mapping[str, Any], read_secret: Callable[[str], str]) -> Iterator[Webhook]:
    for path, value in validation.entries(raw, "notify"):
        webhook = validation.valid(Webhook, _with_defaults(validation, raw, value, path), path)
        if webhook is None:
            continue
        check_authority(validation, webhook.ca_file, (*path, "ca_file"))
        if webhook.secret is not None and webhook.secret_file is not None:
            validation.problem((*path, "secret_file"), "conflicts with secret; set only one")
        elif webhook.secret_file is not None:
            file, where = webhook.secret_file, (*path, "secret_file")
            secret = secret_in(file, validation, where, "notify: secret_file", signing_secret, read_secret)
            yield webhook.model_copy(update={"secret": secret})
        elif webhook.secret is not None:
            yield webhook
        elif not validation.is_unresolved((*path, "secret")) and not validation.is_unresolved((*path, "secret_file")):
            validation.problem(
                (*path, "secret_file"), "is missing; requests are signed with it: `whsec_` and the base64 of 24 bytes"
            )


def _with_defaults(validation: Validation, raw: Mapping[str, Any], value: Any, path: Path) -> Any:
    defaults = raw.get("defaults")
    if not isinstance(defaults, dict) or not isinstance(value, dict):
        return value
    inherited = {name: defaults[name] for name in _INHERITED if name in defaults and name not in value}
    for name in inherited:
        validation.inherited((*path, name), ("defaults", name))
    return {**value, **inherited}
