"""The settings of one provider, and where its calls are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from proxy.calls import COMMON_APIS, GEMINI_VERSION, VERSION, Api
from proxy.config.addresses import BaseUrl, Url
from proxy.config.custom import AuthChoice, CustomList
from proxy.config.defaults import CallSettings
from proxy.config.fields import (
    ApiKey,
    Globs,
    Name,
    NotEmpty,
    Sendable,
    Settings,
    Text,
    at_least_one,
    declared_model,
    whole,
)
from proxy.config.forwarded_headers import header_matcher
from proxy.config.list_settings import ListSettings, adjusted
from proxy.config.secret_files import SecretFile
from proxy.dialects import DIALECTS, Auth, Dialect, fill_template
from proxy.patterns import Matcher

_NO_SECRET = SecretStr("")
"""Replaced by the secret in a file; one of both is required."""


class Iam(Settings):
    """A login at Huawei IAM for a token, which is renewed automatically."""

    url: Annotated[Url, AfterValidator(lambda url: url.rstrip("/").removesuffix("/v3/auth/tokens").removesuffix("/v3"))]
    domain: NotEmpty
    user: NotEmpty
    password: Annotated[SecretStr, Field(min_length=1)] = _NO_SECRET
    password_file: NotEmpty | None = None
    project: NotEmpty


class OAuth(Settings):
    """A login with OAuth client credentials (Entra and others) for a token, which is renewed automatically."""

    url: Url
    """The token endpoint."""
    id: NotEmpty
    secret: Sendable = _NO_SECRET
    secret_file: NotEmpty | None = None
    scope: Text = ""


class Call(Settings):
    """Where calls to the models of a provider are sent, if not to the URL of its kind."""

    base_url: BaseUrl
    auth: AuthChoice = None


NOT_CALLABLE = Call.model_construct(base_url="", auth=None)
"""`call: false`: the models of a provider are listed but cannot be called."""


def _not_callable_if_false(value: object) -> object:
    if str(value).lower() == "false":
        return NOT_CALLABLE
    if not isinstance(value, dict | Call):
        raise ValueError("must be `false` or {base_url: ..., auth: ...}")
    return value


_VERSION_AT_END = re.compile(r"/v[0-9][a-z0-9]*$")


@dataclass(frozen=True)
class Target:
    """Where calls to a provider's models are sent."""

    base_url: str
    auth: Auth
    call_id: str
    """A template; `{id}` is replaced by the provider's own id of a model."""
    root_url: str = ""
    """Where paths with a version of their own begin; "" for `base_url` without its version."""
    speaks: tuple[Api, ...] = COMMON_APIS
    version: str = VERSION
    """The beginning of the path of a call that `base_url` replaces."""
    gemini: Target | None = None
    """Where calls of the Gemini API are sent, if not here."""

    def called(self, own_id: str) -> str:
        """The model id to send in a call."""
        return own_id if self.call_id == "{id}" else self.call_id.replace("{id}", own_id)

    def url(self, path: str) -> str:
        """The URL of a call: `/v1` in the path (`CallPath`) is the base URL."""
        if path.startswith(self.version + "/"):
            return self.base_url + path.removeprefix(self.version)
        return (self.root_url or _VERSION_AT_END.sub("", self.base_url)) + path


def default_of_kind(speaks: object, info: ValidationInfo) -> object:
    """The value of `speaks`. Its default depends on the kind, which precedes it."""
    if speaks != ():
        return speaks
    row = DIALECTS.get(info.data.get("kind", ""))
    return (*COMMON_APIS, row.native_api) if row and row.native_api else COMMON_APIS


class Provider(ListSettings, CallSettings):
    """One provider, including the settings it inherits from `defaults` and `cache`."""

    name: Name
    kind: str = "openai"
    base_url: BaseUrl = ""
    api_key: ApiKey | None = None
    api_key_file: NotEmpty | None = None
    api_keys: Annotated[tuple[ApiKey, ...], AfterValidator(at_least_one)] = ()
    api_keys_files: Annotated[tuple[NotEmpty, ...], AfterValidator(at_least_one)] = ()
    key_strategy: Literal["order", "spread"] = "order"
    """Which of several keys a request is sent with: the first usable one, or round-robin."""
    iam: Iam | None = None
    oauth: OAuth | None = None
    access_key_id: Sendable | None = None
    secret_access_key: Sendable | None = None
    session_token: Sendable | None = None
    """Keys of AWS, for kinds whose requests are signed."""
    list: CustomList | None = None
    """Its dialect, if the kind is `custom`."""
    optional: bool = False
    may_be_empty: bool = False
    """Whether a list without models is normal."""
    disabled: bool = False
    weight: Annotated[int, whole(1, 1000)] = 1
    """Its share of the calls, relative to other providers, with the strategies `weighted` and `least_busy`."""
    owner: Text = ""
    include: Globs = ("*",)
    exclude: Globs = ()
    prefix: Text = ""
    aliases: Mapping[NotEmpty, NotEmpty] = Field(default_factory=dict)
    """Public id -> the provider's own id; or patterns with one `*` on both sides."""
    list_aliases: bool = False
    """List the other names that entries contain (`aliases`), each as a model."""
    accept: Globs = ()
    """Patterns over own ids that the provider accepts but does not list: they can be called, but are not listed."""
    models: tuple[Annotated[Mapping[str, Any], BeforeValidator(declared_model)], ...] = ()
    call: Annotated[Call | None, BeforeValidator(_not_callable_if_false)] = None
    speaks: Annotated[
        tuple[Api, ...], Field(min_length=1, validate_default=True), BeforeValidator(default_of_kind)
    ] = ()
    """The APIs through which its models can be called; the default depends on the kind."""
    stateful: bool = False
    """Allow calls that refer to state stored in the provider account, which all callers share."""
    settings: Mapping[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """The settings of its kind (`workspace_id`, `model_ids` ...)."""

    @cached_property
    def dialect(self) -> Dialect:
        """The row of its kind with the settings of its list applied. Cached, because a Dialect caches plans."""
        return adjusted(self.list.dialect if self.list else DIALECTS[self.kind].variant(self.settings), self)

    @property
    def all_api_keys(self) -> tuple[SecretStr, ...]:
        """Its API keys, in the order of the file; those in files, too."""
        return self.api_keys or ((self.api_key,) if self.api_key else ())

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """Its secrets that are in files."""
        logins = (self.iam and self.iam.password, self.oauth and self.oauth.secret)
        return tuple(secret for secret in (*self.all_api_keys, *logins) if isinstance(secret, SecretFile))

    @property
    def is_remote(self) -> bool:
        """Whether its list is fetched; otherwise the provider has only the models declared in the file."""
        return self.dialect.is_remote

    @cached_property
    def target(self) -> Target | None:
        """None for a provider whose models are listed but cannot be called."""
        row = self.dialect
        base_url = self.call.base_url.rstrip("/") if self.call else self._call_url()
        auth = (self.call.auth if self.call else None) or row.call_auth or row.auth
        root_url = "" if self.call else self._filled(row.call_root)
        call_id = fill_template(row.call_id, self.settings)
        gemini = None
        if row.gemini_call and not self.call:
            gemini = Target(self._filled(row.gemini_call), row.auth, call_id, "", self.speaks, GEMINI_VERSION)
        return Target(base_url, auth, call_id, root_url, self.speaks, gemini=gemini) if base_url else None

    @cached_property
    def forwards(self) -> Matcher | None:
        """Whether a header is forwarded by `forward_headers`, by its lower-case name; None if none is."""
        if not self.forward_headers:
            return None
        rows = [self.dialect.auth, *([self.target.auth] if self.target else ())]
        return header_matcher(self.forward_headers, [row.name for row in rows])

    def _call_url(self) -> str:
        url = self._filled(self.dialect.call)
        return "" if "{" in url else url  # a required setting is missing

    def _filled(self, template: str) -> str:
        host = "{0.scheme}://{0.netloc}".format(urlsplit(self.base_url))
        return fill_template(template, {**self.settings, "base": self.base_url, "host": host})
