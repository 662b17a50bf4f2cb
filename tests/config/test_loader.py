"""Loading of config.yaml: every setting, all problems with their lines, and no secret in any of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy.config import Config, ConfigError, Key, Provider, read
from proxy.config.auth import IdentityHeader, JwtIssuer, Logins
from proxy.config.call_limits import CallLimits, Rate
from proxy.config.custom import CustomList, CustomPaging
from proxy.config.defaults import Cache, Defaults, Queue
from proxy.config.documents import SECTIONS
from proxy.config.field_rules import FieldRule
from proxy.config.keys import KeyEntry
from proxy.config.limits import Limits
from proxy.config.logs import Logging
from proxy.config.notify import Webhook
from proxy.config.overrides import Override
from proxy.config.provider_settings import NOT_CALLABLE, Iam, OAuth
from proxy.config.routing import RoutingRule, VirtualModel
from proxy.config.server import Server
from proxy.config.settings import Group, Merge, OwnerRule
from proxy.config.store import StoreSettings
from proxy.config.tracing import Tracing
from proxy.dialects import DIALECTS
from tests.config.outcomes import (
    CANARY,
    DIGEST,
    ENVIRON,
    LIST,
    NO_VALUE,
    PAIRS,
    PROVIDER,
    STRING,
    outcome,
    parsed,
    problems_of,
)

STAFF_LIMITS = CallLimits(
    requests=(Rate(600, "m"), Rate(10_000, "d")),
    tokens=(Rate(2_000_000, "d"),),
    concurrent=20,
    list_requests=(Rate(10, "s"),),
)
EVERYTHING = """\
server:
  {host: 0.0.0.0, port: 80, allow_anonymous: true, cors: ["https://app.example.com"], drain_delay: 1s, ready: [pangu],
   allowed_hosts: [models-proxy],
   limits: {header_timeout: 5s, body_timeout: 30s, body_rate: 2KiB, body_memory: 64MiB, write_timeout: 20s,
            keepalive_timeout: 2m, headers: 64KiB, connections: 500, connections_per_address: 20}, shutdown_timeout: 2m,
   metrics: off, max_request: 1MiB, expose_provider: true, sse_keepalive: 5s, workers: 1, facts_style: all,
   extra_paths: [/v1/translate], default_models: {moderations: omni}, trusted_proxies: [10.0.0.0/8, 192.0.2.7],
   reload: signal, base_path: /llm, socket_mode: "0600", timezone: Europe/Berlin, public_url: "https://llm.example/llm"}
logging: {format: json, level: warning, access: all}
facts: bundled
store:
  directory: /var/lib/models-proxy
  valkey: rediss://user@valkey
  valkey_password_file: /run/secrets/files
  valkey_ca_file: CORP_PEM
  namespace: prod
  lease: 20s
auth:
  jwt:
    - issuer: https://login.example
      audience: models-proxy
      jwks_url: https://login.example/keys?p=1
      header: Cf-Access-Jwt-Assertion
      algorithms: [RS256]
      leeway: 30s
      group_claim: roles
      groups: {users: staff}
      admin: [ops]
      client_id: status
      client_secret_file: /run/secrets/files
      client_scopes: [openid, roles]
      proxy: http://egress:3128
      ca_file: CORP_PEM
  header: {name: X-Groups, user: X-User, from: [192.0.2.7], groups: {users: staff, guests: default}, admin: [ops]}
tracing:
  endpoint: http://collector:4318
  headers: {X-Token: "${API_KEY}"}
  ca_file: CORP_PEM
  sample: 0.5
notify:
  - webhook: "https://hooks.example/path?token=x"
    secret: whsec_ZmFrZS1zZWNyZXQtb2YtYS13ZWJob29r
    events: [model_added]
cache: {ttl: 10m, max_stale: 2h, confirm_empty: 3m, initial_wait: 2s}
defaults:
  timeout: 20s
  retries: 1
  headers: {X-Team: platform}
  proxy: http://user:sk-canary-1234567890@egress:3128
  ca_file: CORP_PEM
  max_body: 1MiB
  max_pages: 10
  max_models: 100
  extra_fields: [context_length]
  connect_timeout: 1s
  first_byte_timeout: 20s
  idle_timeout: 10s
  call_timeout: 10m
  max_in_flight: 7
  queue: {size: 9}
  failover: false
  failover_on: [429]
  failover_to: same_owner
  forward_headers: [X-Team-*]
merge: {duplicates: by_owner, ignore_case: true, fill: true}
owners:
  - {match: ["gpt-*", "o1*"], owner: openai}
providers:
  - name: ctyun
    base_url: https://wishub-x1.example/v1/
    api_key: ${API_KEY}
    optional: true
    owner: ctyun
    include: ["*"]
    exclude: ["*-preview"]
    prefix: ctyun/
    aliases: {deepseek-r1: DeepSeek-R1-Chat}
    ttl: 1h
    max_stale: 3h
    confirm_empty: 1h
    may_be_empty: true
    initial_wait: 3s
    timeout: 30s
    retries: 3
    headers: {X-Key: "${API_KEY}"}
    proxy: http://other:3128
    ca_file: CORP_PEM
    max_body: 2MiB
    max_pages: 20
    max_models: 200
    extra_fields: none
    connect_timeout: 2s
    first_byte_timeout: 30s
    idle_timeout: 20s
    call_timeout: 20m
    max_in_flight: 8
    queue: {size: 0, timeout: 5s}
    failover: true
    failover_on: [503, "500", timeout, no_connection]
    failover_to: listed
    forward_headers: [x-session-id, "x-session-*"]
    stateful: true
    call: false
  - name: files
    kind: openai
    base_url: https://files.example
    api_key_file: /run/secrets/files
    models: [{id: declared, context_length: 32768}]
    list_aliases: true
    accept: ["*:online"]
    speaks: [anthropic]
  - name: pangu
    kind: pangu
    base_url: https://pangu.example/v1
    workspace_id: 007
    model_ids: [0a1b, 2027-01-31]
    iam: {url: https://iam.example/v3, domain: d, user: u, password: "${API_KEY}", project: p}
  - name: claude
    disabled: false
    weight: 3
    where: [{field: type, is: model}, {field: max_tokens, at_least: 1000}]
    hide_retired: true
    drop_fields: [capabilities.batch]
    overrides:
      - {match: "claude-*", context_length: 200000, notes.tier: null}
      - {match: "*", set_params: {seed: 7, tools: [{type: web}]}, drop_params: [top_p], rename_params: {a: b}}
    kind: anthropic
    base_url: https://claude.example
    version: 2025-01-01
  - name: azure
    kind: azure
    base_url: https://azure.example
    api_version: 2025-01-01
    deployments: true
    oauth: {url: https://login.example/token, id: proxy, secret: "${API_KEY}", scope: api/.default}
  - name: bedrock
    kind: bedrock
    region: us-east-1
    access_key_id: ${API_KEY}
    secret_access_key: ${API_KEY}
    session_token: ${API_KEY}
  - name: vertex
    kind: vertex
    base_url: https://vertex.example
    publisher: mistralai
    project: acme
    location: us-central1
  - name: cloudflare
    kind: cloudflare
    base_url: https://cloudflare.example
    account_id: 0123
  - name: oddball
    kind: custom
    base_url: https://oddball.example
    list:
      path: /catalog
      params: {type: llm}
      items: result.entries
      id: vendor/name
      strip_prefix: models/
      owned_by: vendor
      created: published_at
      fields: {display_name: title}
      price_per: 1000
      private: team
      auth: {header: X-Odd-Key}
      paging: {style: page, send: page, total: count, pages: pages, first: 0, size: {per: 50}}
  - name: oddest
    kind: custom
    base_url: https://oddest.example
    call: {base_url: https://run.oddest.example/v1/, auth: {header: X-Run-Key}}
    list: {path: /c, paging: {style: cursor, send: after, read: last, more: has_more}}
  - name: lab
    kind: static
    models: [{id: our-own-13b, owned_by: lab}]
  - {name: pool, base_url: "https://pool.example", api_keys: ["${API_KEY}", sk-second], key_strategy: spread}
  - {name: pool-of-files, base_url: "https://pool.example", api_keys_files: [/run/secrets/files, /run/secrets/more]}
  - name: login-of-file
    base_url: https://login.example
    oauth: {url: https://login.example/token, id: proxy, secret_file: /run/secrets/more}
  - name: pangu-of-file
    kind: pangu
    base_url: https://pangu.example/v1
    workspace_id: w
    model_ids: [m]
    iam: {url: https://iam.example/v3, domain: d, user: u, password_file: /run/secrets/more, project: p}
models:
  - {id: smart, targets: [gpt-5, "claude-opus-5[1m]"], strategy: weighted}
  - {id: cheap, targets: [our-own-13b]}
routing:
  - {match: "qwen*", strategy: least_busy}
  - {match: ["gpt-*", o1], strategy: order}
groups:
  default: {models: ["*-mini", "owner:ctyun"], call: true}
  staff:
    models: ["*", "!*-preview"]
    call: false
    limits: {requests: [600/m, 10k/d], tokens: 2M/d, concurrent: 20, list_requests: 10/s}
    group_limits: {tokens: 50M/month}
keys:
  - {name: alice, hash: "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", group: staff}
  - {name: ci, key: "${CI_KEY}", models: [gpt-4o-mini, "provider:lab"], expires: 2027-01-31, admin: true,
     limits: {concurrent: 5}, not_before: 2026-12-01, allowed_ips: [10.0.0.0/8, 192.0.2.7]}
  - name: bob
    hashes:
      - "sha256:0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c"
      - "sha256:0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d"
    group: staff
"""

LITELLM = (
    "LiteLLM configuration files are not supported; list your providers under `providers:`, as in the shipped "
    "config.yaml"
)

# -- valid files ----------------------------------------------------------------------------------------------


def test_every_setting_is_loaded(corp_pem: str) -> None:
    text = EVERYTHING.replace("CORP_PEM", corp_pem)
    secret = SecretStr(CANARY)
    inherited: dict[str, Any] = {
        "ttl": 600, "max_stale": 7200, "confirm_empty": 180, "initial_wait": 2, "timeout": 20, "retries": 1,
        "headers": {"X-Team": SecretStr("platform")}, "proxy": SecretStr(f"http://user:{CANARY}@egress:3128"),
        "ca_file": corp_pem, "max_body": 1024**2, "max_pages": 10, "max_models": 100,
        "extra_fields": ["context_length"],
        "connect_timeout": 1, "first_byte_timeout": 20, "idle_timeout": 10, "call_timeout": 600,
        "max_in_flight": 7, "queue": Queue(size=9, timeout=2), "failover": False, "failover_on": [429],
        "failover_to": "same_owner",
        "forward_headers": ["x-team-*"],
    }  # fmt: skip
    ctyun = Provider(
        name="ctyun", base_url="https://wishub-x1.example/v1", api_key=secret, optional=True, owner="ctyun",
        include=("*",), exclude=("*-preview",), prefix="ctyun/", aliases={"deepseek-r1": "DeepSeek-R1-Chat"},
        ttl=3600, max_stale=10_800, confirm_empty=3600, may_be_empty=True,
        initial_wait=3, timeout=30, retries=3, headers={"X-Key": secret},
        proxy=SecretStr("http://other:3128"), ca_file=corp_pem, max_body=2 * 1024**2, max_pages=20, max_models=200,
        extra_fields=(), connect_timeout=2, first_byte_timeout=30, idle_timeout=20, call_timeout=1200,
        max_in_flight=8, queue=Queue(size=0, timeout=5), failover=True, failover_to="listed",
        failover_on=(503, 500, "timeout", "no_connection"),
        forward_headers=("x-session-id", "x-session-*"), stateful=True, call=NOT_CALLABLE,
    )  # fmt: skip
    files = Provider(
        name="files", kind="openai", base_url="https://files.example/v1", api_key=SecretStr("sk-in-a-file"),
        api_key_file="/run/secrets/files", models=({"id": "declared", "context_length": 32768},), list_aliases=True,
        accept=("*:online",), speaks=("anthropic",), **inherited,
    )  # fmt: skip
    login = Iam(url="https://iam.example", domain="d", user="u", password=secret, project="p")
    pangu = Provider(
        name="pangu", kind="pangu", base_url="https://pangu.example/v1", iam=login,
        settings={"workspace_id": "007", "model_ids": ("0a1b", "2027-01-31")}, **inherited,
    )  # fmt: skip
    claude = Provider(
        name="claude", weight=3, kind="anthropic", base_url="https://claude.example/v1",
        where=(FieldRule("type", "is", "model"), FieldRule("max_tokens", "at_least", 1000)),
        hide_retired=True, drop_fields=("capabilities.batch",),
        overrides=(
            Override(("claude-*",), {"context_length": 200000, "notes.tier": None}),
            Override(("*",), {}, {"seed": 7, "tools": [{"type": "web"}]}, ("top_p",), {"a": "b"}),
        ),
        settings={"version": "2025-01-01"}, **inherited,
    )  # fmt: skip
    azure = Provider(
        name="azure", kind="azure", base_url="https://azure.example",
        settings={"api_version": "2025-01-01", "deployments": "true"},
        oauth=OAuth(url="https://login.example/token", id="proxy", secret=secret, scope="api/.default"), **inherited,
    )  # fmt: skip
    bedrock = Provider(
        name="bedrock", kind="bedrock", base_url="https://bedrock.us-east-1.amazonaws.com",
        settings={"region": "us-east-1"}, access_key_id=secret, secret_access_key=secret, session_token=secret,
        **inherited,
    )  # fmt: skip
    vertex = Provider(
        name="vertex", kind="vertex", base_url="https://vertex.example/v1beta1",
        settings={"publisher": "mistralai", "project": "acme", "location": "us-central1"}, **inherited,
    )  # fmt: skip
    cloudflare = Provider(
        name="cloudflare", kind="cloudflare", base_url="https://cloudflare.example/client/v4",
        settings={"account_id": "0123"}, **inherited,
    )  # fmt: skip
    oddball = Provider.model_validate({
        "name": "oddball", "kind": "custom", "base_url": "https://oddball.example", **inherited,
        "list": {
            "path": "/catalog", "params": {"type": "llm"}, "items": ("result.entries",), "id": ("vendor/name",),
            "strip_prefix": ("models/",), "owned_by": ("vendor",), "created": ("published_at",),
            "fields": {"display_name": ("title",)}, "price_per": 1000, "private": ("team",),
            "auth": {"header": "X-Odd-Key"},
            "paging": {"style": "page", "send": "page", "total": "count", "pages": "pages", "first": 0,
                       "size": {"per": "50"}},
        },
    })  # fmt: skip
    oddest = Provider.model_validate({
        "name": "oddest", "kind": "custom", "base_url": "https://oddest.example", **inherited,
        "call": {"base_url": "https://run.oddest.example/v1/", "auth": {"header": "X-Run-Key"}},
        "list": {"path": "/c", "paging": {"style": "cursor", "send": "after", "read": "last", "more": "has_more"}},
    })  # fmt: skip
    lab = Provider(name="lab", kind="static", models=({"id": "our-own-13b", "owned_by": "lab"},), **inherited)
    first, more = SecretStr("sk-in-a-file"), SecretStr("sk-in-another")
    pool = Provider(
        name="pool", base_url="https://pool.example/v1", api_keys=(secret, SecretStr("sk-second")),
        key_strategy="spread", **inherited,
    )  # fmt: skip
    pool_of_files = Provider(
        name="pool-of-files", base_url="https://pool.example/v1", api_keys=(first, more),
        api_keys_files=("/run/secrets/files", "/run/secrets/more"), **inherited,
    )  # fmt: skip
    login_of_file = Provider(
        name="login-of-file", base_url="https://login.example/v1", **inherited,
        oauth=OAuth(url="https://login.example/token", id="proxy", secret=more, secret_file="/run/secrets/more"),
    )  # fmt: skip
    pangu_of_file = Provider(
        name="pangu-of-file", kind="pangu", base_url="https://pangu.example/v1",
        iam=Iam(
            url="https://iam.example", domain="d", user="u", password=more, password_file="/run/secrets/more",
            project="p",
        ),
        settings={"workspace_id": "w", "model_ids": ("m",)}, **inherited,
    )  # fmt: skip
    files_of_secrets = {"/run/secrets/files": "sk-in-a-file\n", "/run/secrets/more": "sk-in-another"}
    assert parsed(text, files=files_of_secrets) == Config(
        server=Server(
            host="0.0.0.0",  # noqa: S104
            port=80,
            base_path="/llm",
            socket_mode="0600",  # type: ignore[arg-type]  # as in the file
            allow_anonymous=True,
            allowed_hosts=("models-proxy",),
            cors=("https://app.example.com",),
            drain_delay=1,
            ready=("pangu",),
            metrics="off",
            limits=Limits(
                header_timeout=5,
                body_timeout=30,
                body_rate=2048,
                body_memory=64 * 1024**2,
                write_timeout=20,
                keepalive_timeout=120,
                headers=64 * 1024,
                connections=500,
                connections_per_address=20,
            ),
            max_request=1024**2,
            expose_provider=True,
            facts_style="all",
            reload="signal",
            shutdown_timeout=120,
            sse_keepalive=5,
            public_url="https://llm.example/llm",
            timezone="Europe/Berlin",
            trusted_proxies=("10.0.0.0/8", "192.0.2.7/32"),
            extra_paths=("/v1/translate",),
            default_models={"moderations": "omni"},
        ),
        merge=Merge(duplicates="by_owner", ignore_case=True, fill=True),
        owners=(OwnerRule(match=("gpt-*", "o1*"), owner="openai"),),
        providers=(
            ctyun,
            files,
            pangu,
            claude,
            azure,
            bedrock,
            vertex,
            cloudflare,
            oddball,
            oddest,
            lab,
            pool,
            pool_of_files,
            login_of_file,
            pangu_of_file,
        ),
        keys=(
            Key(
                name="alice",
                digests=(bytes.fromhex("0a" * 32),),
                rules=("*", "!*-preview"),
                group="staff",
                may_call=False,
                limits=STAFF_LIMITS,
            ),
            Key(
                name="ci",
                digests=(hashlib.sha256(CANARY.encode()).digest(),),
                rules=("gpt-4o-mini", "provider:lab"),
                expires=date(2027, 1, 31),
                admin=True,
                limits=CallLimits(concurrent=5),
                not_before=date(2026, 12, 1),
                allowed_ips=("10.0.0.0/8", "192.0.2.7/32"),
            ),
            Key(
                name="bob",
                digests=(bytes.fromhex("0c" * 32), bytes.fromhex("0d" * 32)),
                rules=("*", "!*-preview"),
                group="staff",
                may_call=False,
                limits=STAFF_LIMITS,
            ),
        ),
        groups={
            "default": Group(models=("*-mini", "owner:ctyun"), call=True),
            "staff": Group(
                models=("*", "!*-preview"),
                call=False,
                limits=STAFF_LIMITS,
                group_limits=CallLimits(tokens=(Rate(50_000_000, "month"),)),
            ),
        },
        models=(
            VirtualModel(id="smart", targets=("gpt-5", "claude-opus-5[1m]"), strategy="weighted"),
            VirtualModel(id="cheap", targets=("our-own-13b",), strategy="order"),
        ),
        routing=(
            RoutingRule(match=("qwen*",), strategy="least_busy"),
            RoutingRule(match=("gpt-*", "o1"), strategy="order"),
        ),
        logging=Logging(format="json", level="warning", access="all"),
        facts="bundled",
        tracing=Tracing(endpoint="http://collector:4318", headers={"X-Token": secret}, ca_file=corp_pem, sample=0.5),
        notify=(
            Webhook.model_validate(
                {
                    "webhook": "https://hooks.example/path?token=x",
                    "secret": "whsec_ZmFrZS1zZWNyZXQtb2YtYS13ZWJob29r",
                    "events": ["model_added"],
                    "proxy": f"http://user:{CANARY}@egress:3128",
                    "ca_file": corp_pem,
                }
            ),
        ),
        store=StoreSettings(
            directory="/var/lib/models-proxy",
            valkey=SecretStr("rediss://user@valkey"),
            valkey_password=first,
            valkey_password_file="/run/secrets/files",
            valkey_ca_file=corp_pem,
            namespace="prod",
            lease=20,
        ),
        auth=Logins(
            jwt=(
                JwtIssuer(
                    issuer="https://login.example",
                    audience=("models-proxy",),
                    jwks_url="https://login.example/keys?p=1",
                    header="cf-access-jwt-assertion",
                    algorithms=("RS256",),
                    leeway=30,
                    group_claim="roles",
                    groups={"users": "staff"},
                    admin=("ops",),
                    proxy=SecretStr("http://egress:3128"),
                    ca_file=corp_pem,
                    client_id="status",
                    client_secret=first,
                    client_secret_file="/run/secrets/files",
                    client_scopes=("openid", "roles"),
                ),
            ),
            header=IdentityHeader(
                name="x-groups",
                user="x-user",
                groups={"users": "staff", "guests": "default"},
                admin=("ops",),
                **{"from": ("192.0.2.7/32",)},
            ),
        ),
    )


def test_example_contains_every_setting() -> None:
    models = (
        Server, Limits, Cache, Defaults, Merge, OwnerRule, Provider, Iam, OAuth, CustomList, CustomPaging, VirtualModel,
        RoutingRule, Group, KeyEntry, Logging, StoreSettings, Logins, JwtIssuer, IdentityHeader,
        Webhook, Tracing,
    )  # fmt: skip
    names = {name for model in models for name in model.model_fields} - {"settings"}
    names -= {
        "valkey_password",
        "client_secret",
        "tls",
    }  # two conflict with their files; its files must belong together (`server/test_tls`)
    names |= {name for dialect in DIALECTS.values() for name in dialect.settings} | set(SECTIONS)
    assert {name for name in names if not re.search(rf"\b{name}:", EVERYTHING)} == set()


def test_file_with_one_provider_is_valid_and_open() -> None:
    assert parsed(PROVIDER) == Config(
        server=Server(),
        merge=Merge(),
        owners=(),
        providers=(Provider(name="a", base_url="http://h/v1"),),
        keys=(),
    )


def test_empty_sections_are_valid() -> None:
    sections = "".join(f"{name}:\n" for name in SECTIONS if name != "providers")
    assert parsed(sections + PROVIDER) == parsed(PROVIDER)


def test_variables_in_strings_are_replaced() -> None:
    text = """\
server: {port: "${PORT:-9000}", allow_anonymous: "${OPEN:-yes}"}
providers:
  - {name: a, base_url: "https://${HOST}/v1", prefix: "$${HOST}/", retries: "${RETRIES}"}
"""
    config = parsed(text, {"HOST": "h", "RETRIES": "5"})
    assert (config.server.port, config.server.allow_anonymous) == (9000, True)
    (provider,) = config.providers
    assert (provider.base_url, provider.prefix, provider.retries) == ("https://h/v1", "${HOST}/", 5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            f"{PROVIDER}    api_key: ${{NOPE}}\n",
            "config.yaml:4: providers[0].api_key: environment variable NOPE is not set or empty; set it, or add a "
            "default: "
            "${NOPE:-...}, or set `optional: true` for the provider",
            id="in a provider",
        ),
        pytest.param(
            f"{PROVIDER}    optional: false\n    api_key: ${{NOPE}}\n",
            "config.yaml:5: providers[0].api_key: environment variable NOPE is not set or empty; set it, or add a "
            "default: "
            "${NOPE:-...}, or set `optional: true` for the provider",
            id="in a provider that is not optional",
        ),
        pytest.param(
            f"defaults: {{headers: {{X-Key: '${{NOPE}}'}}}}\n{PROVIDER}    optional: true\n",
            "config.yaml:1: defaults.headers: environment variable NOPE is not set or empty; set it, or add a default: "
            "${NOPE:-...}",
            id="in what an optional provider inherits",
        ),
        pytest.param(
            f"{PROVIDER}keys:\n  - {{name: k, key: '${{NOPE}}', models: []}}\n",
            "config.yaml:5: keys[0].key: environment variable NOPE is not set or empty; set it",
            id="for a key, which has no default",
        ),
    ],
)
def test_unset_variable_is_one_problem_unless_the_provider_is_optional(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_environment_defaults_to_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_PROXY_TEST_PREFIX", "mine/")
    file = tmp_path / "config.yaml"
    file.write_text(f"{PROVIDER}    prefix: ${{MODELS_PROXY_TEST_PREFIX:-none/}}\n")
    assert read(file).providers[0].prefix == "mine/"
    assert read(file, {}).providers[0].prefix == "none/"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "config.yaml: No such file or directory; set another path with --config", id="no file"),
        pytest.param(
            b"a:\n  b: \xff\n", "config.yaml:2: contains bytes that are not UTF-8; save the file as UTF-8", id="Latin-1"
        ),
        pytest.param(
            "a: b".encode("utf-16"),
            "config.yaml:1: contains bytes that are not UTF-8; save the file as UTF-8",
            id="UTF-16",
        ),
        pytest.param(
            b"a" * 5_242_881,
            "config.yaml: is larger than 5,242,880 bytes; check that it is a configuration file",
            id="a file too large",
        ),
        pytest.param(
            b"",
            "config.yaml: must contain settings (`providers:` ...); start from the shipped config.yaml",
            id="an empty file",
        ),
    ],
)
def test_error_names_an_unusable_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as rejected:
        read(file, {})
    assert str(rejected.value) == f"{file} has 1 problem:\n  {tmp_path}/{message}"


def test_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r": Is a directory; set another path with --config"):
        read(tmp_path, {})


# -- mistakes ------------------------------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once_in_line_order() -> None:
    text = """\
server: {prot: 8000}
cache: {ttl: 5 min}
mergee: {}
providers:
  - name: a b
    kind: pangu
    base_url: ftp://h
    retries: many
    model_ids: m
    iam: {url: x, usr: u}
  - kind: opnai
    tiemout: 3s
  - just text
owners:
  - {match: gpt-*}
groups: {staff: {}}
keys:
  - {name: "", key: sk-canary, group: stuff, expires: never}
"""
    with pytest.raises(ConfigError) as rejected:
        parsed(text)
    digest = hashlib.sha256(b"sk-canary").hexdigest()
    assert str(rejected.value).splitlines() == [
        "config.yaml has 25 problems:",
        "  config.yaml:1: server.prot: unknown setting; did you mean 'port'?",
        "  config.yaml:2: cache.ttl: must be a positive duration, like 250ms, 4s, 5m, 24h or 7d; found '5 min'",
        "  config.yaml:3: mergee: unknown setting; did you mean 'merge'?",
        "  config.yaml:5: providers[0].name: must be 1 to 64 letters, digits, `.`, `_` or `-`, starting with a "
        "letter or "
        "digit; found 'a b'",
        "  config.yaml:5: providers[0].workspace_id: is missing; kind pangu requires it",
        "  config.yaml:7: providers[0].base_url: must be a URL like https://api.example.com/v1",
        "  config.yaml:8: providers[0].retries: must be a whole number from 0 to 10; found 'many'",
        "  config.yaml:9: providers[0].model_ids: must be a list: start each entry with `- `, or use [ ]; at least "
        "one entry "
        "is required",
        "  config.yaml:10: providers[0].iam.domain: is missing; add `domain: ...`",
        "  config.yaml:10: providers[0].iam.password: is missing; add `password: ...`",
        "  config.yaml:10: providers[0].iam.project: is missing; add `project: ...`",
        "  config.yaml:10: providers[0].iam.url: must be a URL like https://api.example.com/v1",
        "  config.yaml:10: providers[0].iam.user: is missing; add `user: ...`",
        "  config.yaml:10: providers[0].iam.usr: unknown setting; did you mean 'user'?",
        "  config.yaml:11: providers[1].kind: unknown kind; did you mean 'openai'?",
        "  config.yaml:11: providers[1].name: is missing; add `name: ...`",
        "  config.yaml:12: providers[1].tiemout: unknown setting; did you mean 'timeout'?",
        "  config.yaml:13: providers[2]: must be a mapping that starts with `name: ...`",
        "  config.yaml:15: owners[0].match: must be a list: start each entry with `- `, or use [ ]; found 'gpt-*'",
        "  config.yaml:15: owners[0].owner: is missing; add `owner: ...`",
        "  config.yaml:16: groups.staff.models: is missing; add `models: ...`",
        "  config.yaml:18: keys[0].expires: must be a valid date, like 2027-01-31; the key expires at the end of "
        "that day "
        "(UTC); found 'never'",
        "  config.yaml:18: keys[0].group: no such group; did you mean 'staff'?",
        f'  config.yaml:18: keys[0].key: is a plaintext secret; write hash: "sha256:{digest}" instead',
        "  config.yaml:18: keys[0].name: must be 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter "
        "or digit",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [("- a", ":1"), ("just text", ":1"), ("null", ":1"), ("# a comment", ""), ("", "")],
)
def test_file_without_settings_is_an_error_with_a_hint(text: str, where: str) -> None:
    assert problems_of(text) == [
        f"config.yaml{where}: must contain settings (`providers:` ...); start from the shipped config.yaml"
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        # unknown settings
        ("servers: {}", "servers: unknown setting; did you mean 'server'?"),
        ("defaults: {include: ['*']}", "defaults.include: unknown setting; it belongs under each provider"),
        ("model_list: []", f"model_list: {LITELLM}"),
        ("server: {max-request: 1MiB}", "server: `max-request`: unknown setting; did you mean 'max_request'?"),
        ("ttl: 5m", "ttl: unknown setting; it belongs under `cache`"),
        ("cache: {timeout: 5s}", "cache.timeout: unknown setting; it belongs under `defaults`"),
        ("defaults: {api_key: sk-canary}", "defaults.api_key: unknown setting; it belongs under each provider"),
        ("merge: {duplicate: by_provider}", "merge.duplicate: unknown setting; did you mean 'duplicates'?"),
        ("merge: {x: 1}", "merge.x: unknown setting; valid settings: duplicates, ignore_case, fill"),
        ("owners: [{match: [a], owner: b, nam: c}]", "owners[0].nam: unknown setting; valid settings: match, owner"),
        (
            "groups: {default: {models: [], modles: []}}",
            "groups.default.modles: unknown setting; did you mean 'models'?",
        ),
        # sections of the wrong shape
        ("server: 8000", f"server: {PAIRS}"),
        ("server: []", f"server: {PAIRS}"),
        ("cache: [5m]", f"cache: {PAIRS}"),
        ("defaults: fast", f"defaults: {PAIRS}"),
        ("owners: {match: [a], owner: b}", f"owners: {LIST}"),
        ("owners: [gpt-*]", f"owners[0]: {PAIRS}"),
        ("keys: {alice: sk-canary}", f"keys: {LIST}"),
        ("keys: [sk-canary]", f"keys[0]: {PAIRS}"),
        ("keys: 5", f"keys: {LIST}"),
        ("groups: false", "groups: must be a mapping of group names, like `staff: {models: [...]}`"),
        ("groups: [staff]", "groups: must be a mapping of group names, like `staff: {models: [...]}`"),
        ("groups: {default: ['*']}", f"groups.default: {PAIRS}"),
        ("groups: {default: }", "groups.default.models: is missing; add `models: ...`"),
        ("groups: {default: {models: '*'}}", f"groups.default.models: {LIST}; found '*'"),
        ("groups: {default: {models: [5]}}", f"groups.default.models[0]: {STRING}; found '5'"),
        ("groups: {default: {models: ['']}}", "groups.default.models[0]: must not be empty"),
        (
            "groups: {staff: {models: []}}",
            "groups: without `keys:` only the group `default` is used; add it, or add keys",
        ),
        # values of the wrong kind
        ("server: {host: 127}", f"server.host: {STRING}; found '127'"),
        ("server: {host: ''}", "server.host: must not be empty"),
        ("server: {host: }", f"server.host: {NO_VALUE}"),
        ("server: {allow_anonymous: maybe}", "server.allow_anonymous: must be true or false; found 'maybe'"),
        ("server: {allow_anonymous: 5}", "server.allow_anonymous: must be true or false; found '5'"),
        ("server: {allow_anonymous: []}", "server.allow_anonymous: must be true or false"),
        ("server: {port: '${HOST}'}", "server.port: must be a whole number from 0 to 65535; found '${HOST}'"),
        ("server: {cors: 'https://a.example'}", f"server.cors: {LIST}; found 'https://a.example'"),
        (
            "server: {cors: ['https://a.example', '*']}",
            "server.cors[1]: must be an exact origin in lower case without a path, like https://app.example.com; "
            "found '*'",
        ),
        ("merge: {duplicates: both}", "merge.duplicates: must be 'merge', 'by_owner' or 'by_provider'; found 'both'"),
        ("merge: {duplicates: [merge]}", "merge.duplicates: must be 'merge', 'by_owner' or 'by_provider'"),
        ("owners: [{match: [], owner: a}]", "owners[0].match: must not be empty"),
        ("owners: [{match: [a], owner: ''}]", "owners[0].owner: must not be empty"),
        ("owners: [{match: [a], owner: 360}]", f"owners[0].owner: {STRING}; found '360'"),
        ("defaults: {headers: {X: 5}}", f"defaults.headers.X: {STRING}"),
        ("defaults: {headers: {X: [y]}}", "defaults.headers.X: must be a string"),
        ("defaults: {headers: {X: }}", f"defaults.headers.X: {NO_VALUE}"),
        ("defaults: {headers: [X]}", f"defaults.headers: {PAIRS}"),
        ("defaults: {extra_fields: [5]}", f"defaults.extra_fields[0]: {STRING}; found '5'"),
        ("defaults: {proxy: }", f"defaults.proxy: {NO_VALUE}"),
        # duplicate keys
        ("server: {host: a, host: b}", "server.host: duplicate key; remove one"),
        ("owners: [{owner: a, match: [b], owner: c}]", "owners[0].owner: duplicate key; remove one"),
    ],
)
def test_mistake_in_a_section_is_one_problem_with_a_fix(line: str, problem: str) -> None:
    assert problems_of(f"{line}\n{PROVIDER}") == [f"config.yaml:1: {problem}"]


def test_litellm_file_is_one_problem() -> None:
    text = "model_list:\n  - {model_name: m, litellm_params: {model: m}}\nlitellm_settings: {drop_params: true}\n"
    assert problems_of(text) == [f"config.yaml:1: model_list: {LITELLM}"]


def test_extension_sections_are_ignored() -> None:
    section = "x-templates:\n  key: ${NOPE}\n  anything: [1, {a: $NOPE}, '${NOPE']\n"
    assert parsed(section + PROVIDER) == parsed(PROVIDER)
    assert problems_of(f"x: 1\n{PROVIDER}")[0].startswith("config.yaml:1: x: unknown setting")


def test_mistake_in_an_inherited_setting_is_one_problem_at_its_own_line() -> None:
    text = f"""\
cache: {{initial_wait: soon}}
defaults:
  timeout: 0
  headers: {{X: [y]}}
  retries:
{PROVIDER}  - {{name: b, base_url: 'http://h'}}
"""
    assert problems_of(text) == [
        "config.yaml:1: cache.initial_wait: must be a positive duration, like 250ms, 4s, 5m, 24h or 7d; found 'soon'",
        "config.yaml:3: defaults.timeout: must be a positive duration, like 250ms, 4s, 5m, 24h or 7d; found '0'",
        "config.yaml:4: defaults.headers.X: must be a string",
        f"config.yaml:5: defaults.retries: {NO_VALUE}",
    ]


def test_brackets_in_patterns_are_a_warning() -> None:
    text = """\
owners:
  - {match: ["gpt-*", "o[0-9]*"], owner: openai}
providers:
  - {name: a, base_url: "http://h", include: ["*[1m]"], exclude: ["x", "y[ab]"]}
groups:
  default: {models: ["*", "!owner:[ab]*"], call: false}
keys:
"""
    text += f"  - {{name: k, hash: '{DIGEST}', models: ['!a[b', '*', 'provider:[ab]*']}}\n"
    config = parsed(text)
    places = (
        "2: owners[0].match[1]", "6: groups.default.models[1]", "8: keys[0].models[0]", "8: keys[0].models[2]",
        "4: providers[0].include[0]", "4: providers[0].exclude[1]",
    )  # fmt: skip
    meaning = "`[` is matched literally; character classes like [0-9] are not supported"
    assert config.warnings == tuple(f"config.yaml:{place}: {meaning}" for place in places)


# -- secrets -------------------------------------------------------------------------------------------------------


WITH_SECRETS = """\
providers:
  - name: a
    kind: pangu
    base_url: https://h
    workspace_id: w
    model_ids: [m]
    api_key: sk-canary-1234567890
    headers: {X-Key: sk-canary-1234567890}
    proxy: http://user:sk-canary-1234567890@egress
  - name: b
    kind: pangu
    base_url: https://h
    workspace_id: w
    model_ids: [m]
    iam: {url: "https://iam", domain: d, user: u, password: sk-canary-1234567890, project: p}
groups: {default: {models: []}}
keys:
  - {name: k, key: "${CI_KEY}", models: []}
"""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_config_repr_contains_no_secret() -> None:
    config = parsed(WITH_SECRETS)
    assert len(config.providers) == 2
    assert "canary" not in f"{config!r} {config}"


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(("base_url: https://h", "base_url: https://user:sk-canary@h"), id="a login in a base_url"),
        pytest.param(("base_url: https://h", "base_url: https://h?key=sk-canary"), id="a key in a base_url"),
        pytest.param(("base_url: https://h", "base_url: https://h:sk-canary"), id="an invalid port"),
        pytest.param(("base_url: https://h", "base_url: [sk-canary]"), id="a list for a base_url"),
        pytest.param(("api_key: sk", "api_key: !sk"), id="a tag"),
        pytest.param(("api_key: sk", "api_key: *sk"), id="an alias"),
        pytest.param(("api_key: sk", "api_key: @sk"), id="a reserved character"),
        pytest.param(("api_key: sk", 'api_key: "sk'), id="an unclosed quote"),
        pytest.param(("api_key: sk", "api_key:sk"), id="no space after the colon"),
        pytest.param(("api_key: sk", "api_key: sk: "), id="two colons"),
        pytest.param(("api_key: sk", "api_key: [sk]\n    x: "), id="a list for a key"),
        pytest.param(("api_key: sk", "api_key: {sk-canary: x}\n    x: "), id="a mapping for a key"),
        pytest.param(("api_key: sk", 'api_key: "é" #'), id="a key that cannot be sent"),
        pytest.param(("api_key: ", "api_key: ${"), id="an unclosed reference"),
        pytest.param(("api_key: ", "api_kye: "), id="an unknown setting"),
        pytest.param(("api_key: ", "api_key_file: "), id="a key instead of a path"),
        pytest.param(("api_key: ", "optional: true\n    api_key_file: "), id="the same, optional"),
        pytest.param(("api_key: ", "ca_file: /"), id="a file that does not exist"),
        pytest.param(("{X-Key: ", "{X-Key:"), id="no space after the colon of a header"),
        pytest.param(("{X-Key: sk", '{"X-Key: sk-canary": sk'), id="a complete header as name"),
        pytest.param(("{X-Key: sk", "{X-Key: é"), id="a header that cannot be sent"),
        pytest.param(("{X-Key: sk-canary-1234567890}", "{sk-canary-1234567890}"), id="only a secret in headers"),
        pytest.param(("{X-Key: sk-canary-1234567890}", "sk-canary-1234567890"), id="a string for headers"),
        pytest.param(("{X-Key: sk-canary-1234567890}", "[sk-canary-1234567890]"), id="a list for headers"),
        pytest.param(("{X-Key: ", "{X-Key: sk-canary, X-Key: "), id="a header twice"),
        pytest.param(("@egress", "@egress:port"), id="a proxy with a wrong port"),
        pytest.param(("@egress", "#@egress"), id="a proxy with an unencoded password"),
        pytest.param(("http://user", "user"), id="a proxy without a scheme"),
        pytest.param(("http://user", "[http://user"), id="a bracket"),
        pytest.param(("password: sk", "password: [sk]\n    x: [sk"), id="a broken line"),
        pytest.param(("password: ", "password:"), id="no space after the colon of a password"),
        pytest.param(("password: ", "user: "), id="a password as user"),
        pytest.param(("password: sk-canary-1234567890", "password: {sk-canary: x}"), id="a mapping for a password"),
        pytest.param(('"https://iam"', '"https://user:sk-canary@iam"'), id="a login in the address of a login"),
        pytest.param(('"${CI_KEY}"', "sk-canary"), id="a key in plain text"),
        pytest.param(('key: "${CI_KEY}"', "key:sk-canary"), id="no space after the colon of a key"),
        pytest.param(('key: "${CI_KEY}"', "sk-canary-1: x"), id="a key as setting name"),
        pytest.param(('key: "${CI_KEY}"', "hash: sk-canary"), id="a key as hash"),
        pytest.param(('"${CI_KEY}"', "[sk-canary]"), id="a list of keys"),
        pytest.param(('{name: k, key: "${CI_KEY}", models: []}', "sk-canary"), id="only a key"),
        pytest.param(("  - {name: k,", "  sk-canary-1: {name: k,"), id="secrets as names of keys"),
        pytest.param(("keys:", "sk-canary-1: x\nkeys:"), id="a secret at the top"),
        pytest.param(("keys:", "server: {cors: ['https://user:sk-canary@h']}\nkeys:"), id="a login in an origin"),
    ],
)
def test_no_mistake_reveals_a_secret(mistake: tuple[str, str]) -> None:
    text = WITH_SECRETS.replace(*mistake)
    assert text != WITH_SECRETS
    made = outcome(text)
    if isinstance(made, Config):
        assert "optional" in text, "every other mistake is found"
        assert "canary" not in repr(made)
    else:
        assert "canary" not in repr(made.problems)
        for cause in causes(made):
            assert "canary" not in f"{cause!r} {cause}"


def test_file_in_the_wrong_encoding_is_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(WITH_SECRETS.encode() + b"\xff")
    with pytest.raises(ConfigError) as rejected:
        read(file, ENVIRON)
    for cause in causes(rejected.value):
        assert "canary" not in f"{cause!r} {cause}"


# -- fuzzing -------------------------------------------------------------------------------------------------------


JARGON = re.compile(
    r"pydantic|[Tt]uple|mapping proxy|Input should|Value error|valid (string|integer|list|dict)|NoneType|<class|"
    r"object at|SecretStr|has an invalid value|yaml\.org"
)

PIECES = ["", " ", "\t", "-", "- ", ":", ": ", "*", "&a ", "!", "{", "}", "[", "]", '"', "'", "#", "|", ">", "\x00",
          "é", "${", "<<: "]  # fmt: skip

# No letters that could form jargon by chance.
TEXT = st.text("abn_:-*!$ 0é模\n", max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | TEXT
    | st.sampled_from(["*", "!x", "${NOPE}", "${HOST}", "${X", "5m", "http://h", "static", "openai", "all", DIGEST]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "id", "models", "url"]) | TEXT, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value of a document."""
    yield path
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in children:
        yield from places(child, (*path, part))


def mutated(value: Any, path: tuple[str | int, ...], new: object, name: str) -> Any:
    """The document with another value at one path, or, if `name` is given, with the value under that name."""
    if not path:
        return new
    part, *rest = path
    inner = mutated(value[part], tuple(rest), new, name)
    if isinstance(value, list):
        return [inner if index == part else child for index, child in enumerate(value)]
    renamed = name if name and not rest else part
    return {(renamed if key == part else key): inner if key == part else child for key, child in value.items()}


def check(text: str) -> None:
    """Assert that a text results in a configuration or a readable error, without a secret."""
    made = outcome(text)
    assert "canary" not in f"{made!r} {made}"
    if isinstance(made, ConfigError):
        assert made.problems
        assert not JARGON.search(str(made)), str(made)
        assert all(problem.line <= text.count("\n") + 2 for problem in made.problems)


VALID = yaml.safe_load(
    re.sub(r"_files?: ", ": ", re.sub(r" *ca_file: .*\n", "", EVERYTHING).replace("${API_KEY}", CANARY))
)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_mutated_valid_file_is_a_configuration_or_a_readable_error(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(places(VALID), key=str)))
    name = data.draw(st.just("") | TEXT) if path and isinstance(path[-1], str) else ""
    old = VALID
    for part in path:
        old = old[part]
    new = old if name else data.draw(ANYTHING)
    check(yaml.safe_dump(mutated(VALID, path, new, name), sort_keys=False, allow_unicode=True))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_edited_valid_file_is_a_configuration_or_a_readable_error(
    data: st.DataObject,
) -> None:
    lines = WITH_SECRETS.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    line = lines[index]
    column = data.draw(st.integers(0, len(line)))
    extra = data.draw(st.sampled_from(PIECES))
    skip = data.draw(st.integers(0, 2))
    lines[index] = line[:column] + extra + line[column + skip :]
    check("\n".join(lines) + "\n")


@settings(max_examples=150, deadline=None)
@given(st.text("prodviers:nam -[]{}\"'*&!|>#%@\n\t0", max_size=80))
def test_any_text_is_a_configuration_or_a_readable_error(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "server", ["{max_request: 64MiB, limits: {body_memory: 100MiB}}", "{max_request: 200MiB}"], ids=["set", "default"]
)
def test_body_memory_has_room_for_two_of_the_longest_requests(server: str) -> None:
    problem = "must be at least twice `server.max_request`; raise it, or lower `server.max_request`"
    assert problems_of(f"server: {server}\n{PROVIDER}") == [f"config.yaml:1: server.limits.body_memory: {problem}"]


@pytest.mark.parametrize(
    ("ready", "problem"),
    [
        ("[b]", "server.ready[0]: no such provider"),
        ("[a, openia]", "server.ready[1]: no such provider; did you mean 'openai'?"),
        *(
            (value, f"server.ready: must be `any`, `all` or a list of provider names, like [openai, lab]{found}")
            for value, found in (("some", "; found 'some'"), ("[]", ""), ("{a: b}", ""), ("[1]", ""))
        ),
    ],
)
def test_readyz_waits_for_providers_of_the_file_only(ready: str, problem: str) -> None:
    providers = f"{PROVIDER}  - {{name: openai, base_url: http://h, disabled: true}}\n"
    assert problems_of(f"server: {{ready: {ready}}}\n{providers}") == [f"config.yaml:1: {problem}"]
