"""Check the section `store`, across its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from proxy.config.authorities import check_authority
from proxy.config.document import Path
from proxy.config.fields import check_filled
from proxy.config.secret_settings import secret_in
from proxy.config.store import StoreSettings
from proxy.config.validation import Validation

_TLS = ("rediss", "sentinels")


def store_of(
    validation: Validation,
    raw: Mapping[str, Any],
    read_secret: Callable[[str], str],
    is_installed: Callable[[str], bool],
) -> StoreSettings:
    """The section, with the password of its file."""
    store = validation.section(StoreSettings, raw, "store")
    if store is None:
        return StoreSettings()
    if store.valkey is None:
        _require_valkey(validation, store)
        return store
    if store.namespace is None and not validation.is_unresolved(("store", "namespace")):
        validation.problem(("store", "namespace"), "is missing; `valkey` requires it, like `namespace: prod`")
    if not is_installed("redis"):
        text = "requires the library redis, which is not installed"
        validation.unavailable(("store", "valkey"), text, "run `pip install 'models-proxy[valkey]'`")
    _check_ca(validation, store, store.valkey)
    return _with_password(validation, store, store.valkey, read_secret)


def _require_valkey(validation: Validation, store: StoreSettings) -> None:
    for name in ("valkey_password", "valkey_password_file", "valkey_ca_file", "namespace"):
        if getattr(store, name) is not None and not validation.is_unresolved(("store", "valkey")):
            validation.problem(("store", name), "has no effect without `valkey`; set `valkey`, or remove it")


def _check_ca(validation: Validation, store: StoreSettings, url: SecretStr) -> None:
    where: Path = ("store", "valkey_ca_file")
    if store.valkey_ca_file and urlsplit(url.get_secret_value()).scheme not in _TLS:
        validation.problem(where, "requires TLS: write rediss:// or sentinels:// in `valkey`")
    check_authority(validation, store.valkey_ca_file, where)


def _with_password(
    validation: Validation, store: StoreSettings, url: SecretStr, read_secret: Callable[[str], str]
) -> StoreSettings:
    places = {
        "valkey": urlsplit(url.get_secret_value()).password,
        "valkey_password": store.valkey_password,
        "valkey_password_file": store.valkey_password_file,
    }
    given = [name for name, value in places.items() if value is not None]
    if len(given) > 1:
        text = f"conflicts with the password in `{given[0]}`; set only one"
        validation.problem(("store", given[1]), text)
        return store
    password = store.valkey_password
    if store.valkey_password_file:
        file, where = store.valkey_password_file, ("store", "valkey_password_file")
        password = secret_in(file, validation, where, "store.valkey_password_file", check_filled, read_secret)
    elif (in_url := places["valkey"]) and isinstance(in_url, str):
        password = SecretStr(unquote(in_url))
    return store.model_copy(update={"valkey_password": password})
