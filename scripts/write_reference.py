"""Write the generated parts of the documentation: docs/configuration.md, the kinds in docs/providers.md, and the table
of docs/metrics.md.

    .venv/bin/python -m scripts.write_reference

Names, types and defaults come from the configuration model, meanings and examples from `ENTRIES`.
`tests/docs/test_reference.py` fails while a file is out of date, or a setting has no entry.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from proxy.config.access_rules import RULES
from proxy.config.auth import IdentityHeader, JwtIssuer, Logins
from proxy.config.call_limits import CallLimits, rates
from proxy.config.custom import AuthChoice, CustomList, CustomPaging
from proxy.config.defaults import Cache, Defaults, Queue
from proxy.config.fields import Bytes, Seconds, failover_conditions, fields_to_show
from proxy.config.keys import KeyEntry
from proxy.config.limits import Limits, number_or_off
from proxy.config.list_settings import ListSettings
from proxy.config.logs import Logging
from proxy.config.notify import Webhook
from proxy.config.provider_settings import Call, Iam, OAuth, Provider
from proxy.config.routing import RoutingRule, VirtualModel
from proxy.config.server import Server, Tls
from proxy.config.settings import Group, Merge, OwnerRule
from proxy.config.store import StoreSettings
from proxy.config.tracing import Tracing
from proxy.dialects import DIALECTS, Auth, Dialect, Setting
from proxy.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "docs" / "configuration.md"
PROVIDERS = ROOT / "docs" / "providers.md"
SCHEMA = ROOT / "proxy" / "cli" / "config.schema.json"
METRICS_PAGE = ROOT / "docs" / "metrics.md"
BEGIN, END = "<!-- generated: kinds -->\n", "<!-- end -->\n"
BEGIN_METRICS = "<!-- generated: metrics -->\n"


class Entry(NamedTuple):
    """What the model does not contain about a setting."""

    example: str
    """As written in the file."""
    meaning: str
    default: str = ""
    """Instead of the default in the model."""


class Section(NamedTuple):
    """One heading of the page, with the settings below it."""

    heading: str
    model: type[BaseModel]
    text: str
    without: frozenset[str] = frozenset()
    """Settings that another section documents, or that cannot be written in a file."""


_OF_CACHE = frozenset(Cache.model_fields)
_OF_LISTS = frozenset(ListSettings.model_fields)
_OF_DEFAULTS = frozenset(Defaults.model_fields)

SECTIONS = (
    Section("server", Server, "The listener and its limits."),
    Section(
        "server: limits", Limits, "Limits of connections and requests of clients. See [Limits](http-api.md#limits)."
    ),
    Section("server: tls", Tls, "The certificate of the server. See [TLS](deployment.md#tls)."),
    Section("logging", Logging, "The log, on stderr. See [Logs](logs.md)."),
    Section(
        "store",
        StoreSettings,
        "State outside the process, for the next start ([Restarts](operations.md#restarts)) or shared by replicas "
        "([A shared store](operations.md#a-shared-store)). A restart applies changes.",
    ),
    Section("auth", Logins, "Users of OIDC providers and login proxies. See [Logins](logins.md)."),
    Section(
        "auth: jwt",
        JwtIssuer,
        "A list of OIDC providers whose tokens are accepted. See [Tokens](logins.md#tokens).",
    ),
    Section(
        "auth: header",
        IdentityHeader,
        "Headers in which a login proxy in front of this one identifies the user. See "
        "[A login proxy](logins.md#a-login-proxy).",
    ),
    Section(
        "notify",
        Webhook,
        "A list of webhooks that are called when models or providers change. See [Changes](changes.md#webhooks).",
    ),
    Section(
        "tracing",
        Tracing,
        "The collector of spans, which are sent with OTLP over HTTP. See [Tracing](tracing.md). A restart applies "
        "changes.",
    ),
    Section(
        "cache",
        Cache,
        "How long model lists are kept. Each setting can also be set under `defaults` and on a provider.",
    ),
    Section("merge", Merge, "What happens when several providers list the same id."),
    Section("owners", OwnerRule, "A list of rules that set the owner of models. The first match wins."),
    Section(
        "defaults",
        Defaults,
        "Settings for every provider that does not set its own value. The settings of `cache` are accepted here too.",
        _OF_CACHE,
    ),
    Section(
        "defaults: queue",
        Queue,
        "Calls that wait because `max_in_flight` is reached. See [Operations](operations.md#concurrency-limits).",
    ),
    Section(
        "providers",
        Provider,
        "A list. Its order is the order of precedence. Each entry accepts the settings below, every setting of "
        "`defaults` and `cache`, and the settings of its kind ([Settings of kinds](#settings-of-kinds)).",
        _OF_DEFAULTS | _OF_LISTS | {"settings"},
    ),
    Section(
        "providers: adjusting the list",
        ListSettings,
        "Further settings of providers of every kind; see [Providers](providers.md#adjusting-a-providers-list).",
    ),
    Section("providers: oauth", OAuth, "A login with OAuth client credentials, for any kind."),
    Section("providers: iam", Iam, "A login at Huawei IAM, for kind `pangu`."),
    Section("providers: call", Call, "Where the models of a provider are called, if not at the address of its kind."),
    Section("providers: list", CustomList, "How a provider of kind `custom` writes its list. Paths are dotted."),
    Section("providers: list: paging", CustomPaging, "How a `custom` provider is paged. Without it there is one page."),
    Section(
        "models",
        VirtualModel,
        "A list of virtual models, which are listed under ids of their own and call other models; see "
        "[Virtual models](routing.md#virtual-models).",
    ),
    Section(
        "routing",
        RoutingRule,
        "A list of rules: how calls are distributed if several providers have the model. The first match wins; without "
        "one the strategy is `order`. See [Routing](routing.md).",
    ),
    Section("groups", Group, "Groups by name. The group `default` applies to requests without an API key."),
    Section("keys", KeyEntry, "A list of the API keys of clients. With at least one, requests are authenticated."),
    Section(
        "limits and group_limits",
        CallLimits,
        "The settings `limits` of groups and keys, and `group_limits` of groups. A rate is a "
        "number, also with `k`, `M` or `G`, per `s`, `m`, `h`, `d` or `month`. See [Limits](limits.md).",
    ),
)

ENTRIES: Mapping[str, Entry] = {
    "Tracing.endpoint": Entry(
        "endpoint: http://collector:4318", "The URL of a collector without `/v1/traces`, which the proxy adds."
    ),
    "Tracing.headers": Entry(
        "headers: {X-Token: secret}", "Headers that are sent to the collector; kept secret.", default="none"
    ),
    "Tracing.ca_file": Entry(
        "ca_file: /etc/ssl/corp.pem",
        "PEM file with the certificate authorities to trust instead of the public ones.",
    ),
    "Tracing.sample": Entry("sample: 0.1", "The share of traces that are recorded, of those that begin at the proxy."),
    "Webhook.webhook": Entry(
        "webhook: https://hooks.example.com/path",
        "The URL, with HTTPS unless its host is a loopback or private address. It is kept secret.",
    ),
    "Webhook.secret": Entry(
        "secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "The secret that signs requests: `whsec_` and the base64 of 24 to 64 random bytes.",
    ),
    "Webhook.secret_file": Entry("secret_file: /run/secrets/hook", "A file with the secret, instead of `secret`."),
    "Webhook.events": Entry(
        "events: [model_added, provider_failing]",
        "Which [changes](changes.md) are sent: `model_added`, `model_removed`, `model_changed`, `provider_failing`, "
        "`provider_recovered`.",
        default="all",
    ),
    "Webhook.proxy": Entry("proxy: http://egress:3128", "HTTP proxy for requests.", default="that of `defaults`"),
    "Webhook.ca_file": Entry(
        "ca_file: /etc/ssl/corp.pem", "File in PEM with the trusted authorities.", default="that of `defaults`"
    ),
    "Server.host": Entry(
        "host: 0.0.0.0",
        "Address or host name to listen on, or `unix:` and the absolute path of a Unix socket; see "
        "[Unix sockets](deployment.md#unix-sockets). `--host` overrides it.",
    ),
    "Server.socket_mode": Entry(
        'socket_mode: "0600"', "Permissions of the file of a Unix socket, in quotes.", default='`"0660"`'
    ),
    "Server.port": Entry("port: 8080", "TCP port; 0 selects a free one. `--port` overrides it."),
    "Server.base_path": Entry(
        "base_path: /llm",
        "What the paths of all requests begin with; see [Base path](deployment.md#base-path).",
    ),
    "Server.allow_anonymous": Entry(
        "allow_anonymous: true", "Listen beyond loopback although no `keys` are configured."
    ),
    "Server.allowed_hosts": Entry(
        "allowed_hosts: [models-proxy]",
        "Without `keys`: host names, besides loopback names and addresses, that requests can be sent to. With "
        "`allow_anonymous`, all addresses can. See [Access](security.md#access).",
    ),
    "Server.cors": Entry(
        "cors: [https://chat.example.com]",
        "Exact origins of web pages, desktop applications (`app://notes.example`) and extensions "
        "(`chrome-extension://...`) that can send requests.",
    ),
    "Server.default_models": Entry(
        "default_models: {moderations: omni-moderation-latest}",
        "The model of requests without a `model`, by path of the call without `/v1/`. It is used if the key can "
        "see it.",
        "for `moderations` and `images/...`: `omni-moderation-latest` and `dall-e-2`, as at OpenAI",
    ),
    "Server.extra_paths": Entry(
        "extra_paths: [/v1/translate]",
        "Further `POST` paths whose body has a `model` field. See [HTTP API](http-api.md#paths).",
    ),
    "Server.drain_delay": Entry(
        "drain_delay: 10s", "After SIGTERM, how long `/readyz` is 503 while requests are still accepted."
    ),
    "Server.tls": Entry(
        "tls: {certificate: /etc/ssl/llm.pem, key: /etc/ssl/llm.key}", "Serve HTTPS; see [TLS](deployment.md#tls)."
    ),
    "Tls.certificate": Entry(
        "certificate: /etc/ssl/llm.pem", "File in PEM: the certificate, then those of intermediate authorities."
    ),
    "Tls.key": Entry("key: /etc/ssl/llm.key", "File in PEM with the private key, without a passphrase."),
    "Server.public_url": Entry(
        "public_url: https://llm.example.com",
        "The URL of this server in browsers, including `base_path`. Issuers redirect browsers to it after a "
        "[login](status.md#log-in).",
    ),
    "Server.timezone": Entry(
        "timezone: Europe/Berlin",
        "The time zone of days and months in [usage](usage.md) and limits, by its IANA name.",
    ),
    "Server.trusted_proxies": Entry(
        "trusted_proxies: [10.0.0.0/8, 192.0.2.7]",
        "Networks and addresses of reverse proxies whose `X-Forwarded-For` is trusted. See "
        "[Addresses of clients](logs.md#addresses-of-clients).",
    ),
    "StoreSettings.directory": Entry(
        "directory: /var/lib/models-proxy",
        "A directory for this process alone. The last model lists, and digests of the ids that keys "
        "received, are written there, and the next start shows the lists before any provider responds. Without it, "
        "both are kept in memory only.",
    ),
    "StoreSettings.valkey": Entry(
        'valkey: "redis://valkey:6379"',
        "The address of a Valkey or Redis server: `redis://HOST:PORT/DB`, `rediss://` with TLS, or with Sentinel "
        "`sentinel://HOST1,HOST2/NAME` (`sentinels://` with TLS). `user:password@` can precede the host. Requires "
        "`models-proxy[valkey]`.",
    ),
    "StoreSettings.valkey_password": Entry("valkey_password: ${VALKEY_PASSWORD}", "The password, if not in `valkey`."),
    "StoreSettings.valkey_password_file": Entry(
        "valkey_password_file: /run/secrets/valkey", "A file with the password. It is read for each connection."
    ),
    "StoreSettings.valkey_ca_file": Entry(
        "valkey_ca_file: /etc/ssl/valkey-ca.pem", "CA of the server's certificate (PEM) instead of the public CAs."
    ),
    "StoreSettings.namespace": Entry(
        "namespace: prod",
        "Required with `valkey`. Replicas with the same one share circuit breakers, cool-downs, limits, usage, "
        "changes, and the ids that keys received. Lists are shared between all whose settings of the provider are the "
        "same.",
    ),
    "StoreSettings.lease": Entry(
        "lease: 10s",
        "Time after which a list is fetched by another replica if the one that fetches it died; 1s to 10m.",
    ),
    "Logins.jwt": Entry(
        "jwt: [{issuer: https://login.example.com, audience: models-proxy, groups: {llm-users: staff}}]",
        "OIDC providers; see [auth: jwt](#auth-jwt).",
        "none",
    ),
    "Logins.header": Entry(
        "header: {name: X-Auth-Request-Groups, user: X-Auth-Request-User, from: [10.1.2.3/32], groups: {llm: staff}}",
        "The headers of a login proxy; see [auth: header](#auth-header).",
    ),
    "JwtIssuer.issuer": Entry(
        "issuer: https://login.example.com", "The issuer, exactly as in the claim `iss` of its tokens."
    ),
    "JwtIssuer.audience": Entry(
        "audience: models-proxy", "What `aud` must contain; of several values, one of them.", "required"
    ),
    "JwtIssuer.jwks_url": Entry(
        "jwks_url: https://login.example.com/keys",
        "The URL of the signing keys.",
        "from `/.well-known/openid-configuration` below the issuer",
    ),
    "JwtIssuer.header": Entry(
        "header: Cf-Access-Jwt-Assertion",
        "The only header in which its tokens are accepted.",
        "all headers in which API keys are accepted, such as `Authorization: Bearer`",
    ),
    "JwtIssuer.algorithms": Entry(
        "algorithms: [RS256]", "Algorithms of signatures; a key verifies only those of its type."
    ),
    "JwtIssuer.leeway": Entry("leeway: 30s", "The maximum difference between the clocks of the issuer and the proxy."),
    "JwtIssuer.group_claim": Entry(
        "group_claim: realm_access.roles",
        "The claim with the user's groups, a string or a list of strings: a name, or a dotted path.",
    ),
    "JwtIssuer.client_id": Entry(
        "client_id: models-proxy",
        "The id of this proxy at the issuer. With it, administrators can [log in](status.md#log-in) there. "
        "Requires `client_secret_file` or `client_secret`, `admin` and `server.public_url`.",
    ),
    "JwtIssuer.client_secret": Entry("client_secret: ${OIDC_CLIENT_SECRET}", "The secret of the client."),
    "JwtIssuer.client_secret_file": Entry(
        "client_secret_file: /run/secrets/oidc", "A file with the secret, instead of `client_secret`."
    ),
    "JwtIssuer.client_scopes": Entry(
        "client_scopes: [openid, groups]",
        "The scopes that such a login requests. The ID token must contain `group_claim`.",
    ),
    "JwtIssuer.groups": Entry(
        "groups: {llm-power-users: staff, llm-users: guests}",
        "Value of the claim -> name of a group. The first entry that matches a group of the user applies; users "
        "without one get `403`.",
    ),
    "JwtIssuer.admin": Entry(
        "admin: [llm-admins]",
        "Values of the claim whose users are administrators, like keys with `admin: true`. They need a group, too.",
    ),
    "JwtIssuer.proxy": Entry(
        "proxy: http://egress.example.com:3128",
        "HTTP proxy for requests to the issuer. `HTTP_PROXY` and similar variables are ignored.",
    ),
    "JwtIssuer.ca_file": Entry(
        "ca_file: /etc/ssl/corp.pem", "PEM file with the certificate authorities to trust instead of the public ones."
    ),
    "IdentityHeader.name": Entry(
        "name: X-Auth-Request-Groups", "The header with the user's groups, separated by commas."
    ),
    "IdentityHeader.user": Entry("user: X-Auth-Request-User", "The header with the user."),
    "IdentityHeader.from": Entry(
        "from: [10.1.2.3/32]",
        "Addresses and networks of the login proxy. They are compared with the address of the connection, never with "
        "`X-Forwarded-For`; from any other address the headers are ignored.",
        "required",
    ),
    "IdentityHeader.groups": Entry(
        "groups: {llm-users: staff}", "Group in the header -> name of a group, as in [auth: jwt](#auth-jwt)."
    ),
    "IdentityHeader.admin": Entry("admin: [llm-admins]", "Groups in the header whose users are administrators."),
    "Logging.format": Entry(
        "format: json",
        "`console`, `json`, or `auto`: `console` on a terminal, otherwise `json`. `--log-format` overrides it.",
    ),
    "Logging.level": Entry(
        "level: warning", "The lowest level that is logged: `info`, `warning` or `error`. `--log-level` overrides it."
    ),
    "Logging.access": Entry(
        "access: all",
        "Requests with a line of their own: `off`, `calls` (and other requests with an error status), or `all`.",
    ),
    "Server.limits": Entry(
        "limits: {keepalive_timeout: 2m}",
        "Limits of connections; see [server: limits](#server-limits).",
        "those of the next table",
    ),
    "Limits.header_timeout": Entry(
        "header_timeout: 5s",
        "Time for the head of a request (request line and headers); then `408`, or the connection is closed if no byte "
        "was received.",
    ),
    "Limits.body_timeout": Entry(
        "body_timeout: 30s", "How long a client can send nothing in the middle of a request body; then `408`."
    ),
    "Limits.body_rate": Entry(
        "body_rate: 10KiB",
        "Bytes per second of a request body, on average over 30 s; slower uploads get `408`.",
    ),
    "Limits.body_memory": Entry(
        "body_memory: 1GiB",
        "Bytes of all request bodies in memory, also decompressed; at least twice `max_request`. A key can have as "
        "many of them as remain free, so one key at most half. Other calls wait up to 10 s, then get `503`.",
    ),
    "Limits.write_timeout": Entry(
        "write_timeout: 30s", "How long a client can read nothing of a response; then its connection is closed."
    ),
    "Limits.headers": Entry(
        "headers: 64KiB",
        "Maximum size of the request line and all headers; then `431`. Fixed: 100 headers (`431`), and 8 KiB for "
        "the URL (`414`).",
    ),
    "Limits.connections": Entry(
        "connections: 2000",
        "Maximum of connections. Beyond it, the connection that has been idle for the longest time is closed, or "
        "the new one if none is idle. The limit is lower if the process can open fewer files (`ulimit -n`); see "
        "[Connections of clients](operations.md#connections-of-clients).",
    ),
    "Limits.connections_per_address": Entry(
        "connections_per_address: 100",
        "Maximum number of connections from one IP address; further ones are closed. A reverse proxy is one address.",
        "`off`",
    ),
    "Limits.keepalive_timeout": Entry(
        "keepalive_timeout: 2m",
        "How long an idle connection is kept for further requests. Must be longer than that of a load balancer in "
        "front of the proxy (usually 60 s).",
    ),
    "Server.metrics": Entry(
        "metrics: open",
        "Who can read `/metrics`: requests with an admin key (`admin`), everyone (`open`; then without the names of "
        "keys, providers and models), or nobody (`off`). See [Metrics](metrics.md).",
    ),
    "Server.max_request": Entry(
        "max_request: 64MiB", "Maximum size of a request body, also decompressed; larger ones get `413`."
    ),
    "Server.facts_style": Entry(
        "facts_style: all",
        "Names of facts in lists: `plain` is one name each, `all` also those of other servers "
        "(`context_window`, `max_model_len`, `top_provider`, `architecture` ...). See "
        "[All names](facts.md#all-names).",
    ),
    "Server.expose_provider": Entry(
        "expose_provider: true",
        "Send the name of the provider that served a call to all callers, as `x-served-by`; admin keys always get it.",
    ),
    "Server.reload": Entry(
        "reload: signal",
        "When a changed configuration is applied: `auto` (within about 3 s, and after SIGHUP), `signal` (after SIGHUP "
        "and `POST /admin/reload`) or `off` (at the next start). See [reloading](operations.md#reloading).",
    ),
    "Server.ready": Entry(
        "ready: [openai, lab]",
        "The lists that `/readyz` waits for: `any` (at least one), `all`, or those of the providers with these names. "
        "See [Probes](operations.md#probes).",
    ),
    "Server.shutdown_timeout": Entry(
        "shutdown_timeout: 5m",
        "After `drain_delay`, how long requests in progress can take; then calls end with an error. See "
        "[Shutdown](operations.md#shutdown).",
    ),
    "Server.workers": Entry(
        "workers: 4",
        "Processes that share the port, each on one CPU core. `limits.connections`, `limits.body_memory`, and the "
        "`max_in_flight` and `queue` of each provider are divided between them. See [Workers](operations.md#workers).",
    ),
    "Server.sse_keepalive": Entry(
        "sse_keepalive: 30s",
        "A stream without data for this long gets an SSE comment, so that no proxy closes it as idle; calls with "
        "`stream: true` also if no provider has responded for twice this long.",
    ),
    "Cache.ttl": Entry(
        "ttl: 30m", "How long a list is fresh. It is refreshed in the background shortly before its TTL expires."
    ),
    "Cache.max_stale": Entry(
        "max_stale: 7d",
        "How long after its last successful refresh a list is shown, marked as stale, while refreshes fail.",
    ),
    "Cache.confirm_empty": Entry(
        "confirm_empty: 1h",
        "How long a list that became empty, or lost more than half of more than 5 models, must stay so until it "
        "replaces the last one. Models are shown for at most `max_stale`, even if that is shorter.",
    ),
    "Cache.initial_wait": Entry(
        "initial_wait: 10s",
        "After a start, how long requests wait for the first list of a provider, counted from the start of its fetch.",
    ),
    "Merge.duplicates": Entry(
        "duplicates: by_owner",
        "`merge`: one entry for each id, with the fields of the first provider; "
        "`by_owner`: every id becomes "
        "`owner/id`; `by_provider`: every id becomes `provider/id`.",
    ),
    "Merge.ignore_case": Entry(
        "ignore_case: true",
        "Whether ids that differ only in case are one model: the first spelling is listed, with the facts that only "
        "another spelling has. All allowed spellings can be retrieved and called.",
    ),
    "Merge.fill": Entry(
        "fill: true",
        "Whether facts (`context_length`, `type` ...) that the first provider of a model does not report are those of "
        "the next provider that the key can use. Prices and dates of shutdown are never those of another provider.",
    ),
    "OwnerRule.match": Entry('match: ["gpt-*", "o1*"]', "Patterns that match the providers' own ids."),
    "OwnerRule.owner": Entry("owner: openai", "The owner of matching models."),
    "Defaults.timeout": Entry(
        "timeout: 30s",
        "One refresh of a list with all its pages and attempts; each attempt gets at most a third of it.",
    ),
    "Defaults.retries": Entry(
        "retries: 0",
        "Retries of a refresh, after a failed connection or status 408, 429, 500, 502, 503 or 504.",
    ),
    "Defaults.headers": Entry(
        "headers: {X-Team: platform}", "Headers sent with every request to the provider.", "none"
    ),
    "Defaults.proxy": Entry(
        "proxy: http://egress.example.com:3128",
        "HTTP proxy for requests to the provider. `HTTP_PROXY` and similar variables are ignored.",
    ),
    "Defaults.ca_file": Entry(
        "ca_file: /etc/ssl/corp.pem", "PEM file with the certificate authorities to trust instead of the public ones."
    ),
    "Defaults.max_body": Entry("max_body: 64MiB", "Maximum size of one page of a list, uncompressed."),
    "Defaults.max_pages": Entry("max_pages: 2000", "Maximum number of pages of a list."),
    "Defaults.max_models": Entry("max_models: 50000", "Maximum number of models of a list."),
    "Defaults.extra_fields": Entry(
        "extra_fields: [context_length, pricing]",
        "Which of the provider's other fields are shown: `all`, `none`, or a list of "
        "names and dotted paths. Local paths, command lines, private addresses and "
        "credentials are removed unless their field is named (`status.args`).",
        "all",
    ),
    "Defaults.connect_timeout": Entry("connect_timeout: 2s", "Calls: until a connection is established."),
    "Defaults.first_byte_timeout": Entry(
        "first_byte_timeout: 2m", "Calls: until the response begins, all attempts together."
    ),
    "Defaults.idle_timeout": Entry("idle_timeout: 2m", "Calls: between two chunks of a response."),
    "Defaults.call_timeout": Entry("call_timeout: 2h", "One call with its complete response."),
    "Defaults.max_in_flight": Entry("max_in_flight: 50", "Concurrent calls to each provider."),
    "Defaults.queue": Entry(
        "queue: {size: 20, timeout: 5s}",
        "How many calls wait while `max_in_flight` is reached, and for how long.",
        "see below",
    ),
    "Queue.size": Entry("size: 20", "Calls that wait per provider; 0: none, further calls are rejected immediately."),
    "Queue.timeout": Entry("timeout: 5s", "How long a call waits before it is sent to the next provider, or rejected."),
    "Defaults.failover": Entry(
        "failover: false", "Whether a call that fails at this provider is tried at the next provider of the model."
    ),
    "Defaults.forward_headers": Entry(
        "forward_headers: [x-session-*, x-openrouter-title]",
        "Patterns of further headers of calls that are forwarded, from the client to the provider and back, besides "
        "the [built-in ones](http-api.md#request-headers-of-calls). Headers with credentials, accounts, addresses and "
        "models, and those that the proxy sets itself, are never forwarded.",
        "none",
    ),
    "Defaults.failover_on": Entry(
        "failover_on: [no_connection, 429, 500, 503, timeout]",
        "After what the next provider is tried: statuses, `no_connection` (also a failed login), `stream_error` (an "
        "error in a response with status 200), `empty_stream` (a stream that ended within 5 s without output), and "
        "`timeout` (which is not in the default, because the provider may have processed, and billed, the call). "
        "By default, all errors that occur before any work is done.",
    ),
    "Defaults.failover_to": Entry(
        "failover_to: same_owner",
        "Where calls fail over to: `listed`, providers whose first list, fetched or restored, contained the model, or "
        "whose `models` or `accept` name it; `same_owner`, of these, those with the same owner; or `any`, all that "
        "have it.",
    ),
    "Provider.name": Entry("name: lab", "Unique name, shown in rules, logs and `/health`."),
    "Provider.kind": Entry(
        "kind: anthropic",
        "The dialect of the provider; see [Providers](providers.md). `static` has declared models only.",
    ),
    "Provider.base_url": Entry(
        "base_url: https://api.example.com/v1",
        "Base URL of the provider's API. Without a path, that of the kind is added (mostly `/v1`). Required unless the "
        "kind is `static` or `bedrock`.",
        "none",
    ),
    "Provider.api_key": Entry(
        "api_key: ${OPENAI_API_KEY}",
        "The credential. At most one of `api_key`, `api_key_file`, `api_keys`, `api_keys_files`, `iam` and `oauth`.",
    ),
    "Provider.api_key_file": Entry(
        "api_key_file: /run/secrets/openai", "A file with the credential; read again when it changes."
    ),
    "Provider.api_keys": Entry(
        'api_keys: ["${OPENAI_KEY_1}", "${OPENAI_KEY_2}"]',
        "Several credentials. After 401, 402 or 429, a request is sent with the next one, and the rejected one is not "
        "used for a while.",
        "none",
    ),
    "Provider.api_keys_files": Entry(
        "api_keys_files: [/run/secrets/openai-1, /run/secrets/openai-2]",
        "Files with several credentials; read again when they change.",
        "none",
    ),
    "Provider.key_strategy": Entry(
        "key_strategy: spread",
        "Which of several credentials a request is sent with: the first usable one (`order`), or round-robin "
        "(`spread`).",
    ),
    "Provider.iam": Entry(
        "iam: {url: https://iam.example.com, domain: acme, user: lister, password: "
        "${PANGU_PASSWORD}, project: cn-north-4}",
        "Login at Huawei IAM; the token is renewed automatically. Kind `pangu` only.",
    ),
    "Provider.oauth": Entry(
        "oauth: {url: https://login.example.com/token, id: proxy, secret: ${OAUTH_SECRET}}",
        "Login with OAuth client credentials; the token is renewed automatically.",
    ),
    "Provider.access_key_id": Entry(
        "access_key_id: ${AWS_ACCESS_KEY_ID}",
        "Key of AWS, with `secret_access_key`. Kind `bedrock` only. Default: botocore's credentials.",
    ),
    "Provider.secret_access_key": Entry(
        "secret_access_key: ${AWS_SECRET_ACCESS_KEY}", "The secret of `access_key_id`."
    ),
    "Provider.session_token": Entry(
        "session_token: ${AWS_SESSION_TOKEN}", "The token of temporary keys. Kind `bedrock` only."
    ),
    "Provider.list": Entry(
        "list: {path: /catalog, items: result.entries, id: name}", "The dialect of a provider of kind `custom`."
    ),
    "Provider.optional": Entry(
        "optional: true",
        "Skip the provider if one of its variables is unset or empty, or a file with one of its "
        "secrets does not exist; otherwise that is an error.",
    ),
    "Provider.may_be_empty": Entry(
        "may_be_empty: true",
        "A list without models is normal: it is shown at once, and the state is `ok` instead of `empty`.",
    ),
    "Provider.disabled": Entry(
        "disabled: true",
        "Ignore the provider, as if it were not in the file. Its secrets may be missing; rules can still refer to it.",
    ),
    "Provider.weight": Entry(
        "weight: 3",
        "Its share of the calls, relative to the other providers of a model, with the strategies `weighted` and "
        "`least_busy`; see [Routing](routing.md).",
    ),
    "Provider.owner": Entry("owner: ctyun", "The owner of all models of this provider."),
    "Provider.include": Entry(
        'include: ["gpt-*"]', "Patterns for the provider's own ids; only matching models are listed."
    ),
    "Provider.exclude": Entry(
        'exclude: ["*-preview"]', "Patterns for the provider's own ids; matching models are not listed."
    ),
    "Provider.prefix": Entry("prefix: lab/", "Added before every id of the provider."),
    "Provider.aliases": Entry(
        "aliases: {deepseek-r1: DeepSeek-R1-Chat}",
        "Public id -> the provider's own id, which it replaces. The `prefix` is not added. A pattern has one `*` on "
        'both sides: `{"claude-*": "anthropic/claude-*"}`.',
        "none",
    ),
    "ListSettings.strip_prefix": Entry(
        "strip_prefix: [models/]",
        "Prefixes removed from ids, besides those that the kind removes; `*` matches anything but a slash.",
    ),
    "ListSettings.params": Entry(
        "params: {type: text, sub_type: chat}",
        "Query parameters of the first list request. They replace those of the kind with the same name.",
        "none",
    ),
    "ListSettings.fields": Entry(
        "fields: {context_length: limits.context, owned_by: [maker, vendor.name]}",
        "Standard name -> dotted path in an entry, or several; read before the paths of the kind.",
        "none",
    ),
    "ListSettings.where": Entry(
        "where: [{field: enabled, is: true}, {field: context_length, at_least: 32000}]",
        "Rules over the provider's own fields; models that pass all of them are listed. "
        "See [Providers](providers.md#adjusting-a-providers-list).",
    ),
    "ListSettings.hide_retired": Entry(
        "hide_retired: true",
        "Hide models that are past their shutdown date, or that the provider marks as retired. Evaluated at each "
        "refresh.",
    ),
    "ListSettings.drop_fields": Entry(
        "drop_fields: [description, architecture.tokenizer]", "Dotted paths of fields that are not shown."
    ),
    "ListSettings.overrides": Entry(
        'overrides: [{match: "qwen3-*", context_length: 65536}]',
        "Fields of models, by patterns over the provider's own ids. Later entries win; `null` removes a field. "
        "`set_params`, `drop_params` and `rename_params` change the parameters of calls; see "
        "[Providers](providers.md#parameters-of-calls).",
    ),
    "ListSettings.price_per": Entry(
        "price_per: 1000000",
        "Number of tokens that the prices in `pricing` are for; they are shown for one token.",
        "unknown: prices are not converted",
    ),
    "Provider.list_aliases": Entry(
        "list_aliases: true",
        "Also list the other names that the provider's entries contain (`aliases`), each as a model. Without it they "
        "can be called, but are not listed.",
    ),
    "Provider.accept": Entry(
        'accept: ["*:online", "claude-*"]',
        "Patterns over own ids that the provider accepts but does not list. They can be called and retrieved where the "
        "key's rules allow the id. See [Providers](providers.md#names-that-are-not-listed).",
    ),
    "Provider.models": Entry(
        "models: [{id: sonar, owned_by: perplexity, context_length: 127072}]",
        "Declared models, always listed; `include`, `exclude` and `where` do not apply to them. An id, or a mapping "
        "with an `id` and any other field. See [Providers](providers.md#declared-models).",
    ),
    "Provider.call": Entry(
        "call: false",
        "`false`: the models are listed but cannot be called; or another address for calls.",
        "the address of the kind",
    ),
    "Provider.speaks": Entry(
        "speaks: [openai]",
        "The APIs through which its models can be called: `openai`, `anthropic` (`/v1/messages`), `gemini` "
        "(`/v1beta/models`), `ollama` (`/api/chat`). A call through another one is sent to the next provider of the "
        "model that supports it, or gets a `400` that names the APIs of the model.",
        '`["openai", "anthropic"]`; kinds gemini and ollama also their own',
    ),
    "Provider.stateful": Entry(
        "stateful: true",
        "Whether calls can refer to any state that the provider stores for its account (earlier responses, files), "
        "which all callers share, not only to [what the same key received](http-api.md#stored-state).",
    ),
    "OAuth.url": Entry("url: https://login.example.com/token", "The token endpoint."),
    "OAuth.id": Entry("id: proxy", "The client id."),
    "OAuth.secret": Entry("secret: ${OAUTH_SECRET}", "The client secret.", "required, or `secret_file`"),
    "OAuth.secret_file": Entry(
        "secret_file: /run/secrets/oauth", "A file with the client secret; read again when it changes."
    ),
    "OAuth.scope": Entry("scope: api/.default", "The requested scope."),
    "Iam.url": Entry("url: https://iam.example.com", "Address of the IAM service."),
    "Iam.domain": Entry("domain: acme", "Account name."),
    "Iam.user": Entry("user: lister", "IAM user name."),
    "Iam.password": Entry("password: ${PANGU_PASSWORD}", "Password of the user.", "required, or `password_file`"),
    "Iam.password_file": Entry(
        "password_file: /run/secrets/pangu", "A file with the password; read again when it changes."
    ),
    "Iam.project": Entry("project: cn-north-4", "Project for which the token is requested."),
    "Call.base_url": Entry("base_url: https://run.example.com/v1", "Base URL of calls."),
    "Call.auth": Entry(
        "auth: {header: X-Api-Key}",
        "How calls send the credential: `bearer`, `basic`, `none`, `{header: NAME}` or `{query: NAME}`.",
        "as the list",
    ),
    "CustomList.path": Entry("path: /catalog", "Path below `base_url`."),
    "CustomList.items": Entry(
        "items: result.entries",
        'The array of models or ids, or the object with models by id; `""` is the response itself. Of several paths, '
        "the first that exists is used.",
    ),
    "CustomList.id": Entry("id: name", "Field with the id; `a/b` joins two fields with a slash."),
    "CustomList.strip_prefix": Entry(
        "strip_prefix: [models/]", "Prefixes removed from ids; `*` matches anything but a slash."
    ),
    "CustomList.owned_by": Entry("owned_by: vendor", "Field with the owner."),
    "CustomList.created": Entry("created: published_at", "Field with the creation time."),
    "CustomList.fields": Entry(
        "fields: {display_name: title, context_length: limits.context}",
        "Standard name -> path in an entry. Other fields are shown only if `extra_fields` names them.",
        "none",
    ),
    "CustomList.price_per": Entry("price_per: 1000000", "Number of tokens that the prices are for."),
    "CustomList.private": Entry("private: [internal]", "Fields that are never shown."),
    "CustomList.params": Entry("params: {kind: llm}", "Query parameters of the first request.", "none"),
    "CustomList.paging": Entry("paging: {style: page, send: page}", "How further pages are requested."),
    "CustomList.auth": Entry(
        "auth: {query: key}",
        "How the credential is sent: `bearer`, `basic` (`api_key` is `user:password`), "
        "`none`, `{header: NAME}` or "
        "`{query: NAME}`.",
    ),
    "CustomPaging.style": Entry(
        "style: cursor", "`url`: the response contains the next URL; `cursor`: a value to send back; `offset`; `page`."
    ),
    "CustomPaging.read": Entry(
        "read: next_page_token", "Field with the next cursor or URL (styles `url` and `cursor`)."
    ),
    "CustomPaging.send": Entry(
        "send: page_token", "Query parameter that requests the next page (all styles but `url`)."
    ),
    "CustomPaging.more": Entry("more: has_more", "Style `cursor`: continue only while this field is true."),
    "CustomPaging.total": Entry("total: count", "Styles `offset` and `page`: field with the number of models."),
    "CustomPaging.pages": Entry("pages: page_count", "Style `page`: field with the number of pages."),
    "CustomPaging.first": Entry("first: 0", "Style `page`: number of the first page."),
    "CustomPaging.size": Entry(
        "size: {page_size: 100}", "Parameters of the first request that set the page size.", "none"
    ),
    "VirtualModel.id": Entry("id: smart", "The id of the virtual model. A listed model with this id is replaced."),
    "VirtualModel.targets": Entry(
        "targets: [gpt-5, claude-opus-5]",
        "Exact ids of listed models, in the order of preference. Other virtual models are not allowed.",
    ),
    "VirtualModel.strategy": Entry(
        "strategy: weighted", "`order`: the first target that can serve the call; others: see [Routing](routing.md)."
    ),
    "RoutingRule.match": Entry('match: "qwen*"', "A pattern over public ids, or a list of patterns."),
    "RoutingRule.strategy": Entry(
        "strategy: least_busy",
        "`order`: the order of the providers; `weighted`: calls of one conversation go to the same provider; "
        "`least_busy`: the provider with the fewest calls in progress.",
    ),
    "Group.models": Entry(
        'models: ["*", "!*-preview"]', "The models that members can access; see [Access rules](#access-rules)."
    ),
    "Group.call": Entry(
        "call: true",
        "Whether members can call these models.",
        "true; for requests without a key false",
    ),
    "Group.limits": Entry(
        "limits: {requests: 600/m}", "Limits of each member; see [Limits](#limits-and-group_limits)."
    ),
    "Group.group_limits": Entry("group_limits: {tokens: 50M/d}", "Limits of all members together."),
    "CallLimits.requests": Entry("requests: [600/m, 10k/d]", "Calls.", "not limited"),
    "CallLimits.tokens": Entry("tokens: 2M/d", "Input and output tokens of calls.", "not limited"),
    "CallLimits.concurrent": Entry("concurrent: 20", "Calls in progress.", "not limited"),
    "CallLimits.list_requests": Entry(
        "list_requests: 10/s", "Requests for the list of models, and for single models.", "not limited"
    ),
    "KeyEntry.name": Entry("name: alice", "Unique name of the key, shown in logs and by `check`."),
    "KeyEntry.hash": Entry(
        'hash: "sha256:dd2d761abfe1175d9afc7969e508586518dfc8a79e17449e263010116d862939"',
        "SHA-256 digest of the key. Exactly one of `hash`, `hashes` and `key`.",
    ),
    "KeyEntry.hashes": Entry(
        'hashes: ["sha256:dd2d761abfe1175d9afc7969e508586518dfc8a79e17449e263010116d862939"]',
        "Digests of several keys of the same client, all valid: the old and the new one while a key is replaced.",
        "none",
    ),
    "KeyEntry.key": Entry('key: "${CI_KEY}"', "A reference to an environment variable with the key."),
    "KeyEntry.group": Entry("group: staff", "Group whose rules apply. Required without `models`."),
    "KeyEntry.models": Entry(
        'models: ["gpt-4o-mini", "owner:ctyun"]', "Access rules of this key; they replace those of its group."
    ),
    "KeyEntry.not_before": Entry("not_before: 2026-12-01", "First day on which the key is valid (from 00:00 UTC)."),
    "KeyEntry.allowed_ips": Entry(
        "allowed_ips: [10.0.0.0/8, 192.0.2.7]",
        "Networks and addresses from which the key can be used: that of the connection or, behind "
        "`server.trusted_proxies`, [that of the client](logs.md#addresses-of-clients).",
        "any address",
    ),
    "KeyEntry.expires": Entry(
        "expires: 2027-01-31", "Last day on which the key is valid (until the end of the day, UTC)."
    ),
    "KeyEntry.limits": Entry(
        "limits: {concurrent: 5}",
        "Limits of the key. Limits that are not set here are those in the `limits` of its group.",
    ),
    "KeyEntry.admin": Entry(
        "admin: true",
        "Whether the key can use the details of `/health`, `/metrics` and the paths below `/admin`. They show the "
        "names of all keys, providers and models, whatever `models` allows.",
    ),
}
"""Model and setting -> what the model does not contain."""

_HEAD = """\
# Configuration

<!-- Generated by `python -m scripts.write_reference`; edit that script instead. -->

One YAML file, by default `config.yaml` in the working directory (`--config` names another), contains the complete
configuration, or [includes](#include) further files. The shipped `config.yaml` is a working example with comments.
Unknown settings are errors, and all errors are reported together, each as `file:line: setting: problem`. A running
server applies changes ([Reloading](operations.md#reloading)).

Editors with the YAML language server complete and check the file with the schema `config.schema.json`, which the first
line of the shipped file names; `models-proxy schema > config.schema.json` writes it next to a file of yours.

## Values

| type | written as |
|---|---|
| duration | a positive number with `ms`, `s`, `m`, `h` or `d`: `250ms`, `4s`, `5m`, `7d`. Without a unit: seconds |
| size | a whole number with `B`, `KiB`, `MiB` or `GiB`: `512KiB`, `16MiB`. Without a unit: bytes |
| pattern | `*` and `?` are wildcards; every other character is literal, including `[` |
| secret | printable ASCII, usually a variable |

In strings, `${NAME}` is replaced by an environment variable, which must not be unset or empty; `${NAME:-default}` uses
the default in that case; `$${` is a literal `${`. A provider with `optional: true` is skipped instead.

YAML anchors, aliases and merge keys (`<<`) are supported. Top-level sections that begin with `x-` are ignored; use them
for anchors.

## include

`include: [providers.yaml, keys/*.yaml]` is a list of further files, relative to the folder of the main file, with the
wildcards `*` and `?`. They can contain `providers`, `owners`, `models`, `routing`, `groups` and `keys`, which are added
to those of the main file: first the main file, then the others in the order of the list, sorted by name within a
pattern; each file counts once. All other sections belong in the main file, and an included file cannot include files. A
pattern that matches no file is an error, and so is a duplicate name across files. All files together can have 5 MiB and
300,000 values. See [Several files](operations.md#several-files).

## facts

`facts: bundled` adds context lengths and prices that no provider reports, from the data in the package `genai-prices`
(`pip install 'models-proxy[facts]'`). The default is `facts: off`. See [Bundled facts](facts.md#bundled-facts).
"""
_RULES = """
## Access rules

`models:` of groups and keys is a list of rules. A rule allows models; a rule with a leading `!` denies them and takes
precedence over all others. `["*"]` allows all models, `[]` none.

Rules over facts (`type:`, `capability:`, `context>=`) never match a model whose fact is unknown if they allow, and
always match it if they deny: `!type:image` also denies models without a known type. See
[Rules over facts](facts.md#rules-over-facts).

| rule | allows |
|---|---|
"""


def configuration() -> str:
    """The page of all settings."""
    parts = [_HEAD]
    parts += [_section(section) for section in SECTIONS]
    parts += [_settings_of_kinds(), _access_rules()]
    return "".join(parts)


def _section(section: Section) -> str:
    rows = "".join(
        _row(section.model, name, field)
        for name, field in section.model.model_fields.items()
        if name not in section.without
    )
    heading = "##" + "#" * section.heading.count(":")
    return f"\n{heading} {section.heading}\n\n{section.text}\n\n" + _table("setting type default meaning example", rows)


def _table(columns: str, rows: str) -> str:
    names = columns.split()
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n{rows}"


def _row(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    entry = ENTRIES[f"{model.__name__}.{name}"]
    cells = (
        f"`{name}`",
        type_of(field),
        entry.default or default_of(field),
        entry.meaning,
        f"`{entry.example}`",
    )
    return "| " + " | ".join(cells) + " |\n"


# -- types and defaults ------------------------------------------------------------------------------------------------

_NAMED_VALIDATORS = {
    Seconds.__metadata__[0].func: "duration",
    Bytes.__metadata__[0].func: "size",
    AuthChoice.__metadata__[0].func: "string or mapping",
    fields_to_show: "`all`, `none` or list of strings",
    failover_conditions: "list of statuses and names",
    number_or_off: "`off` or integer, 1 to 1000000",
    rates: "rate, or list of rates",
}
_NAMED_TYPES: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    SecretStr: "secret",
    date: "date",
    object: "string",
    float: "number",
    tuple: "list of strings",
    Literal: "one of",
}


def type_of(field: FieldInfo) -> str:
    """The type of a setting as an operator writes it."""
    for validator in field.metadata:
        function = getattr(validator, "func", None)
        if function in _NAMED_VALIDATORS:
            return _NAMED_VALIDATORS[function]
        if bounds := bounds_of(function):
            return "integer, {least} to {most}".format(**bounds)
    return _type(field.annotation)


def _type(annotation: Any) -> str:
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if type(None) in get_args(annotation):
        return "`false` or mapping" if kinds[0] is Call else _type(kinds[0])
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in kinds)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__)
    if get_origin(annotation) is tuple and _type(kinds[0]) == "mapping":
        return "list of mappings"
    return _NAMED_TYPES.get(get_origin(annotation) or annotation, "mapping")


def bounds_of(function: Any) -> Mapping[str, int]:
    """The bounds of a whole number, {} for any other validator."""
    if not inspect.isfunction(function):
        return {}
    outer = inspect.getclosurevars(function).nonlocals
    return outer if {"least", "most"} <= outer.keys() else {}


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    match type_of(field):
        case "duration":
            return f"`{_in_units(value, ((3600, 'h'), (60, 'm'), (1, 's')))}`"
        case "size":
            return f"`{_in_units(value, ((1024**2, 'MiB'), (1024, 'KiB')))}`"
    return _written(value)


def _in_units(value: float, units: Sequence[tuple[int, str]]) -> str:
    """In the largest unit that needs no fraction."""
    return next(f"{value / size:g}{unit}" for size, unit in units if value % size == 0)


def _written(value: object) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case None | "" | ():
            return "none"
        case Auth():
            return f"`{value.style}`"
        case tuple():
            items = [str(item) if isinstance(item, int) else f'"{item}"' for item in value]
            return f"`[{', '.join(items)}]`"
    return f"`{value}`"


# -- kinds and rules ---------------------------------------------------------------------------------------------------


def _settings_of_kinds() -> str:
    rows = "".join(
        f"| `{row.kind}` | `{name}` | {_type_of(setting)} | {_needed(row, name)} |\n"
        for row in DIALECTS.values()
        for name, setting in row.settings.items()
    )
    return "\n## Settings of kinds\n\nSet on providers of this kind.\n\n" + _table("kind setting type default", rows)


def _type_of(setting: Setting) -> str:
    if setting.flag:
        return "true or false"
    return "list of strings" if setting.many else "string"


def _needed(row: Dialect, name: str) -> str:
    setting = row.settings[name]
    if setting.flag:
        return "`false`"
    if setting.default is not None:
        return f"`{setting.default}`"
    return "none" if setting.optional else "required"


def _access_rules() -> str:
    return _RULES + "".join(f"| `{kind.example}` | {kind.allows} |\n" for kind in RULES.values())


def kinds() -> str:
    """The table of kinds, from the rows that the reader uses."""
    rows = "".join(
        f"| `{row.kind}` | {_paths(row)} | {_auth(row)} | {_calls(row)} |\n"
        for row in DIALECTS.values()
        if row.is_remote and row.kind != "custom"
    )
    return "| kind | list, below `base_url` | credential | calls go to |\n|---|---|---|---|\n" + rows


def _paths(row: Dialect) -> str:
    return ", ".join(f"`{each.path}`" for each in (row, *row.also))


def _auth(row: Dialect) -> str:
    sent = f"header `{row.auth.name}`" if row.auth.name else "`Authorization: Bearer`"
    return f"signature, or {sent}" if row.aws else sent


def _calls(row: Dialect) -> str:
    if not row.call:
        return "listed only"
    if row.call == "{base}":
        return "`base_url`"
    path = row.call.removeprefix("{base}").removeprefix("{host}")
    return f"`base_url` + `{path}`" if row.call.startswith("{base}") else f"host of `base_url` + `{path}`"


def with_kinds(text: str) -> str:
    """The page of providers with a new table of kinds."""
    return re.sub(f"{BEGIN}.*?{END}", lambda _: BEGIN + kinds() + END, text, flags=re.DOTALL)


# -- metrics -----------------------------------------------------------------------------------------------------------


def metrics() -> str:
    """The table of metrics."""
    rows = "".join(
        f"| `{metric.name}` | {metric.type} | {', '.join(f'`{label}`' for label in metric.labels) or '-'} "
        f"| {metric.help} |\n"
        for metric in METRICS.values()
    )
    return "| metric | type | labels | meaning |\n|---|---|---|---|\n" + rows


def with_metrics(text: str) -> str:
    """The page of metrics with a new table."""
    return re.sub(f"{BEGIN_METRICS}.*?{END}", lambda _: BEGIN_METRICS + metrics() + END, text, flags=re.DOTALL)


if __name__ == "__main__":
    CONFIGURATION.write_text(configuration(), encoding="utf-8")
    PROVIDERS.write_text(with_kinds(PROVIDERS.read_text(encoding="utf-8")), encoding="utf-8")
    from scripts import write_schema  # uses the texts of this module

    SCHEMA.write_text(write_schema.text(), encoding="utf-8")
    METRICS_PAGE.write_text(with_metrics(METRICS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
