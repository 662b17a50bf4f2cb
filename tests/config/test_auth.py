"""The section `auth`: users who log in elsewhere, and every mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import read
from proxy.config.auth import IdentityHeader, JwtIssuer, Logins
from proxy.config.handover import packed, unpacked
from proxy.config.reload_rules import refuse_reload
from proxy.key_headers import KEY_HEADERS
from tests.config.outcomes import DIGEST, PROVIDER, parsed, problems_of

GROUPS = "groups: {staff: {models: [m]}, guests: {models: [n]}}\n"
JWT = "issuer: 'https://login.example', audience: models-proxy, groups: {users: staff}"
HEADER = "name: X-Groups, user: X-User, from: [192.0.2.7], groups: {users: guests}"
KEYS = f"keys: [{{name: k, hash: '{DIGEST}', models: []}}]\n"


def auth(*, jwt: str = "", header: str = "") -> str:
    """A configuration with these logins."""
    sections = [f"jwt: [{{{jwt}}}]"] * bool(jwt) + [f"header: {{{header}}}"] * bool(header)
    return f"{GROUPS}auth: {{{', '.join(sections)}}}\n{PROVIDER}"


def test_settings_have_these_defaults() -> None:
    config = parsed(auth(jwt=JWT, header=HEADER))

    assert config.auth == Logins(
        jwt=(
            JwtIssuer(
                issuer="https://login.example",
                audience=("models-proxy",),
                jwks_url=None,
                header=None,
                algorithms=("RS256", "PS256", "ES256", "EdDSA"),
                leeway=60,
                group_claim="groups",
                groups={"users": "staff"},
                admin=(),
                proxy=None,
                ca_file=None,
            ),
        ),
        header=IdentityHeader(
            name="x-groups", user="x-user", groups={"users": "guests"}, **{"from": ("192.0.2.7/32",)}
        ),
    )
    assert config.auth.group_names == ("staff", "guests")
    assert config.auth.headers == ("x-groups", "x-user")


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        (PROVIDER, True),
        (f"auth: {{}}\n{PROVIDER}", True),
        (f"auth:\n{PROVIDER}", True),
        (f"auth: {{jwt: []}}\n{PROVIDER}", True),
        (auth(jwt=JWT), False),
        (auth(header=HEADER), False),
    ],
)
def test_a_proxy_with_logins_is_not_open(text: str, is_open: bool) -> None:
    config = parsed(text)

    assert (config.is_open, config.anonymous is None) == (is_open, not is_open)
    assert bool(config.refuse_exposure("0.0.0.0")) == is_open  # noqa: S104


def test_the_order_of_groups_counts() -> None:
    first, second = (
        parsed(auth(jwt=JWT.replace("users: staff", order)))
        for order in ("users: staff, others: guests", "others: guests, users: staff")
    )

    assert first != second
    assert first.generation != second.generation


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (auth(jwt=JWT.replace("https:", "http:")), "issuer: must begin with https://, unless its host is a loopback"),
        (auth(jwt=JWT.replace("https://login.example", "login.example")), "issuer: must be a URL like"),
        (auth(jwt=JWT.replace("login.example", "login.example/a|b")), "issuer: must have at most 200 characters and"),
        (auth(jwt=JWT.replace("login.example", "login.example/" + "a" * 200)), "issuer: must have at most 200"),
        (
            auth(jwt=JWT.replace("login", "lögin")),
            "issuer: must be ASCII; write the host name in Punycode, like https://xn--lgin-5qa.example; found 'https://lö",
        ),
        (auth(jwt=JWT.replace("audience: models-proxy, ", "")), "audience: is missing; add `audience: ...`"),
        (auth(jwt=JWT.replace("audience: models-proxy", "audience: []")), "audience: must not be empty"),
        (
            auth(jwt=JWT.replace("models-proxy", "5")),
            "auth.jwt[0].audience: must be a string, or a list of strings; found '5'",
        ),
        (auth(jwt=JWT.replace("users: staff", "")), "groups: must not be empty"),
        (auth(jwt=JWT.replace("users: staff", "users: staf")), "groups.users: no such group; did you mean 'staff'?"),
        (auth(jwt=f"{JWT}, algorithms: [HS256]"), "algorithms[0]: must be 'RS256'"),
        (auth(jwt=f"{JWT}, algorithms: [none]"), "algorithms[0]: must be 'RS256'"),
        (auth(jwt=f"{JWT}, leeway: 61m"), "leeway: must be at most 1h"),
        (
            auth(jwt=f"{JWT}, proxy: egress"),
            "proxy: must be a URL like http://egress:3128; if it needs user and password",
        ),
        (auth(header=f"{HEADER}, header: x-groups"), "auth.header.header: unknown setting; valid settings: name, user"),
        (auth(jwt=f"{JWT}, jwks_url: 'http://login.example/k'"), "jwks_url: must begin with https://"),
        (auth(jwt=f"{JWT}, jwks_url: 'https://u:p@login.example/k'"), "jwks_url: must be a URL like"),
        (auth(jwt=f"{JWT}, header: Host"), "header: cannot identify a user"),
        (auth(jwt=f"{JWT}, header: 'X: y'"), "header: must be a valid HTTP header name"),
        (auth(jwt=f"{JWT}, ca_file: /nowhere.pem"), "ca_file: cannot be read: No such file or directory"),
        (auth(jwt=f"{JWT}}}, {{{JWT}"), "jwt[1].issuer: duplicate issuer, also at config.yaml:2; remove one"),
        (auth(header=HEADER.replace("from: [192.0.2.7], ", "")), "from: is missing; add `from: ...`"),
        (auth(header=HEADER.replace("192.0.2.7", "0.0.0.0/0")), "from[0]: contains every address"),
        (auth(header=HEADER.replace("192.0.2.7", "'::/0'")), "from[0]: contains every address"),
        (auth(header=HEADER.replace("192.0.2.7", "'::ffff:0:0/96'")), "from[0]: contains every address"),
        (auth(header=HEADER.replace("192.0.2.7", "'fe80::1%eth0'")), "from[0]: must be without a zone id"),
        (auth(header=HEADER.replace("192.0.2.7", "proxy")), "from[0]: must be a network such as 10.0.0.0/8"),
        (auth(header=HEADER.replace("X-User", "X-Groups")), "user: is the same header as name"),
        (auth(header=HEADER.replace("X-User", "Cookie")), "user: cannot identify a user"),
        (auth(header=f"{HEADER}, users: x"), "users: unknown setting; did you mean 'user'?"),
    ],
)
def test_mistakes_are_reported(text: str, problem: str) -> None:
    (found,) = problems_of(text)

    assert problem in found


@pytest.mark.parametrize("header", [name.decode() for name in KEY_HEADERS])
@pytest.mark.parametrize(("setting", "before"), [("name", "X-Groups"), ("user", "X-User")])
def test_a_header_of_api_keys_cannot_identify_users(setting: str, before: str, header: str) -> None:
    assert problems_of(auth(header=HEADER.replace(before, header.title()))) == [
        f"config.yaml:2: auth.header.{setting}: is reserved for API keys, so its value would be rejected as an "
        f"invalid key; set the header of the login proxy; found '{header.title()}'"
    ]


@pytest.mark.parametrize(("setting", "header"), [("name", "X-Groups"), ("user", "x-user")])
def test_a_header_of_tokens_cannot_identify_users_otherwise(setting: str, header: str) -> None:
    assert problems_of(auth(jwt=f"{JWT}, header: {header}", header=HEADER)) == [
        f"config.yaml:2: auth.jwt[0].header: conflicts with auth.header.{setting} at config.yaml:2: "
        "values of this header are validated as tokens; set a different header"
    ]


def test_tokens_can_be_accepted_in_one_of_the_headers_of_api_keys() -> None:
    assert problems_of(auth(jwt=f"{JWT}, header: X-Api-Key", header=HEADER)) == []


COMMA = "never matches, because commas separate the groups in the header; add each group on its own"
SPACE = "never matches, because spaces around the groups in the header are removed; remove them here"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (HEADER.replace("users:", "'users,ops':"), f"groups.users,ops: invalid name: {COMMA}"),
        (HEADER.replace("users:", "' users':"), f"groups. users: invalid name: {SPACE}"),
        (HEADER.replace("users:", "'users ':"), f"groups.users : invalid name: {SPACE}"),
        (f"{HEADER}, admin: [ops, 'a,b']", f"admin[1]: {COMMA}; found 'a,b'"),
        (f"{HEADER}, admin: ['ops ']", f"admin[0]: {SPACE}; found 'ops '"),
        (HEADER.replace("users:", "all users:"), ""),
    ],
)
def test_groups_that_no_value_of_the_header_can_contain_are_reported(header: str, problem: str) -> None:
    assert problems_of(auth(header=header)) == [f"config.yaml:2: auth.header.{problem}"] * bool(problem)


def test_groups_in_tokens_can_contain_commas_and_spaces() -> None:
    assert problems_of(auth(jwt=JWT.replace("users:", "'cn=users, ou=groups ':"))) == []


def test_issuers_on_loopback_need_no_tls() -> None:
    assert problems_of(auth(jwt=JWT.replace("https://login.example", "http://127.0.0.1:8080/realms/x"))) == []


def test_groups_without_keys_are_used_by_logins() -> None:
    assert problems_of(auth(jwt=JWT)) == []


def test_a_default_group_next_to_logins_gets_a_warning() -> None:
    config = parsed(auth(jwt=JWT).replace("groups: {", "groups: {default: {models: [m]}, ", 1))

    assert "requests without a key can still list the models of this group" in "\n".join(config.warnings)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (
            auth(jwt=JWT),
            PROVIDER,
            "auth: the last login was removed, so requests without a key would be accepted; keep",
        ),
        (auth(jwt=JWT) + KEYS, PROVIDER, "keys: the last key was removed, so requests without a key would be accepted"),
        (auth(jwt=JWT) + KEYS, auth(jwt=JWT), ""),
        (auth(jwt=JWT) + KEYS, PROVIDER + KEYS, ""),
        (auth(jwt=JWT), auth(header=HEADER), ""),
        (PROVIDER, auth(jwt=JWT), ""),
        (PROVIDER, PROVIDER, ""),
    ],
)
def test_a_reload_must_not_remove_the_last_key_or_login(before: str, after: str, problem: str) -> None:
    found = refuse_reload(parsed(before), parsed(after))

    assert (problem in str(found)) if problem else found is None


@pytest.mark.parametrize("more", ["", KEYS])
def test_a_configuration_with_logins_can_be_handed_to_another_process(more: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(auth(jwt=JWT, header=HEADER) + more, encoding="utf-8")

    assert unpacked(packed(str(path)), str(path)) == read(path)


# -- clients -----------------------------------------------------------------------------------------------------------

CLIENT = f"{JWT}, admin: [admins], client_id: status"
SERVER = "server: {public_url: 'https://llm.example.com/'}\n"
NO_URL = "auth.jwt[0].client_id: requires `server.public_url`: the issuer redirects browsers to it"


def test_a_client_has_a_secret_and_scopes() -> None:
    config = parsed(SERVER + auth(jwt=f"{CLIENT}, client_secret: fake-secret"))
    (issuer,) = config.auth.jwt

    assert (issuer.client_id, issuer.client_secrets, issuer.secret_files) == ("status", ("fake-secret",), ())
    assert issuer.client_scopes == ("openid", "profile", "email")
    assert config.server.public_url == "https://llm.example.com"
    assert "fake-secret" not in repr(config)
    assert parsed(auth(jwt=JWT)).auth.jwt[0].client_secrets == ()


def test_the_secret_of_a_client_is_read_from_its_file_and_the_one_before_it_is_known(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("fake-secret\n")
    text = SERVER + auth(jwt=f"{CLIENT}, client_secret_file: '{file}'")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    (issuer,) = read(path).auth.jwt
    before = issuer.client_secrets
    file.write_text("fake-successor")
    (secret,) = issuer.secret_files
    secret.reload()

    assert (before, issuer.client_secrets) == (("fake-secret",), ("fake-successor", "fake-secret"))
    (restored,) = unpacked(packed(str(path)), str(path)).auth.jwt
    assert restored.client_secrets == ("fake-successor",)


@pytest.mark.parametrize(
    ("server", "jwt", "problems"),
    [
        ("", f"{CLIENT}, client_secret: fake", [NO_URL]),
        ("server: {port: 80}\n", f"{CLIENT}, client_secret: fake", [NO_URL]),
        (SERVER, CLIENT, ["auth.jwt[0].client_secret_file: is missing; `client_id` requires it, or `client_secret`"]),
        (
            SERVER,
            f"{CLIENT}, client_secret: fake, client_secret_file: /run/secrets/oidc",
            ["auth.jwt[0].client_secret_file: conflicts with client_secret; set only one"],
        ),
        (
            SERVER,
            f"{JWT}, client_secret: fake",
            ["auth.jwt[0].client_secret: has no effect without `client_id`; set `client_id`, or remove it"],
        ),
        (
            SERVER,
            f"{JWT}, client_id: status, client_secret: fake",
            ["auth.jwt[0].client_id: has no effect without `admin`: only administrators can open the status page"],
        ),
        (
            SERVER,
            f"{CLIENT}, client_secret: fake, client_scopes: [groups]",
            ["auth.jwt[0].client_scopes: must contain openid"],
        ),
        (
            SERVER,
            f"{CLIENT}, client_secret: fake, client_scopes: [a b]",
            ["auth.jwt[0].client_scopes[0]: must be a scope like `openid`, without spaces or quotes; found 'a b'"],
        ),
        (
            SERVER,
            f"{CLIENT}, client_secret_file: /missing/file",
            ["auth.jwt[0].client_secret_file: cannot be read: No such file or directory"],
        ),
    ],
)
def test_an_incomplete_client_is_a_problem(server: str, jwt: str, problems: list[str]) -> None:
    assert [each.split(": ", 1)[1] for each in problems_of(server + auth(jwt=jwt))] == problems


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://llm.example.com", "must begin with https://, unless its host is a loopback address"),
        ("https://llm.example.com?a=b", "must not contain `?` or `#`"),
        ("llm.example.com", "must be a URL like https://api.example.com/v1"),
    ],
)
def test_a_public_url_that_browsers_cannot_trust_is_a_problem(url: str, problem: str) -> None:
    (found,) = problems_of(f"server: {{public_url: '{url}'}}\n{PROVIDER}")

    assert f"server.public_url: {problem}" in found


def test_a_public_url_of_a_loopback_address_needs_no_https() -> None:
    text = f"server: {{public_url: 'http://localhost:8000/llm/'}}\n{PROVIDER}"

    assert parsed(text).server.public_url == "http://localhost:8000/llm"
