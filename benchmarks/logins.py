"""19. The model list for a user with a token (JWT), compared with an API key; memory of a process with both."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Round, begin, folder, measured, mebibytes, medians, ratio, table, verdict
from benchmarks.servers import Server, config_text, ours, providers, upstreams, wait_until_listed
from tests.providers.oidc import OidcProvider, key_of, oidc_provider

MODELS = 500
CONNECTIONS = (1, 32)
KEY = "mp-benchmark-logins-0000000000000000000000"
GOAL = 1.1
MOST_MEBIBYTES = 110
ROUNDS = 9
SECONDS = 0.5  # per round
USERS = 10_000


def main() -> None:
    begin(f"GET /v1/models with a token and with a key, {MODELS} models")
    with ExitStack() as stack:
        issuer = stack.enter_context(oidc_provider())
        issuer.keys = {"k": (key_of("RSA"), "RS256")}
        where = Path(stack.enter_context(folder()))
        port = stack.enter_context(upstreams(MODELS))
        server = stack.enter_context(ours(where, config_text(providers(port, 1), logins(issuer))))
        wait_until_listed(server, MODELS, _credential(KEY))
        callers = [token_of(issuer, "u-1"), KEY]
        etag = server.get(headers={**_credential(KEY), "Accept-Encoding": "gzip"}).header("etag")
        kinds = {"gzip": ["Accept-Encoding: gzip"], "304": ["Accept-Encoding: gzip", f"If-None-Match: {etag}"]}
        rows = [
            _row(f"{kind}, {connections}", server, callers, kinds[kind], connections)
            for kind in kinds
            for connections in CONNECTIONS
        ]
        print(table(["response, connections", "CPU us", "key CPU us", "token / key", "goal", "met"], rows))
        before = mebibytes(server.pid, "VmRSS")
        _use(server, [token_of(issuer, f"u-{number}") for number in range(USERS)])
        after = mebibytes(server.pid, "VmRSS")
    row = [f"{before:.0f}", f"{after:.0f}", f"< {MOST_MEBIBYTES}", verdict(after < MOST_MEBIBYTES)]
    print(f"\n{table(['memory MiB, one token', f'{USERS:,} tokens', 'goal', 'met'], [row])}")


def logins(issuer: OidcProvider) -> str:
    """A configuration in which a key and users of an issuer have the same access."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    return f"""
groups: {{staff: {{models: ['*']}}}}
keys: [{{name: k, hash: 'sha256:{digest}', group: staff}}]
auth: {{jwt: [{{issuer: '{issuer.issuer}', audience: models-proxy, groups: {{llm-users: staff}}}}]}}
"""


def token_of(issuer: OidcProvider, subject: str) -> str:
    """A token as long as those of large providers are."""
    now = int(time.time())
    claims = {"sub": subject, "exp": now + 3600, "iat": now, "email": f"{subject}@example.com", "email_verified": True}
    return issuer.token("k", **claims, groups=["llm-users", *(f"group-{number}" for number in range(20))])


def _credential(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _use(server: Server, tokens: Sequence[str]) -> None:
    for token in tokens:
        assert server.get(headers={**_credential(token), "Accept-Encoding": "gzip"}).status == 200


def _row(name: str, server: Server, callers: Sequence[str], more: Sequence[str], connections: int) -> list[str]:
    rounds: list[list[Round]] = [[] for _ in callers]
    for turn in range(ROUNDS + 1):
        for caller, runs in zip(callers, rounds, strict=True):
            headers = [f"Authorization: Bearer {caller}", *more]
            run = measured(server.pid, server.url(), connections=connections, seconds=SECONDS, headers=headers)
            if turn:  # the first is a warm-up
                runs.append(run)
    share = ratio(*([run.cpu_us for run in runs] for runs in rounds))
    token, key = map(medians, rounds)
    return [
        name,
        f"{token.cpu_us:.1f}",
        f"{key.cpu_us:.1f}",
        f"{share:.2f}",
        f"<= {GOAL}",
        verdict(share <= GOAL),
    ]


if __name__ == "__main__":
    main()
