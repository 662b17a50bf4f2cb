"""`GET /admin/changes.atom`: the change feed for programs that read Atom."""

from __future__ import annotations

from base64 import b64encode
from uuid import UUID
from xml.etree import ElementTree

import pytest

from proxy.api.atom import MAX_ENTRIES, atom
from proxy.api.changes import ATOM_PATH
from proxy.telemetry.changes import Change, Feed, FieldChange
from tests.api.test_changes import ADMIN, CONFIG, PLAIN
from tests.fakes import FakeClock, FakeFetch, Reply, config_of, reply_to, started

pytestmark = pytest.mark.anyio

NAMESPACE = "{http://www.w3.org/2005/Atom}"
NOON = 1_800_000_000.0


def added(model: str) -> Change:
    return Change(at=NOON, type="model_added", provider="a", model=model)


def feed_of(*changes: Change) -> Feed:
    return Feed(complete_after=int(NOON * 1_000_000)).extended(changes, NOON)[0]


def parsed(feed: Feed) -> ElementTree.Element:
    return ElementTree.fromstring(atom(feed))  # noqa: S314  # our own


def texts(element: ElementTree.Element, name: str) -> list[str | None]:
    return [each.text for each in element.iter(NAMESPACE + name)]


def test_each_change_is_an_entry_and_the_newest_is_the_first() -> None:
    changed = Change(
        at=NOON + 1.5,
        type="model_changed",
        provider="a",
        model="m",
        fields=(FieldChange("context_length", None, 8192), FieldChange("owned_by", "x", "y")),
    )
    failing = Change(
        at=NOON + 2, type="provider_failing", provider="a", part="list", before="ok", after="stale", reason="timed out"
    )
    more = Change(at=NOON, type="model_removed", provider="a", more=7)

    feed = parsed(feed_of(more, changed, failing))

    assert texts(feed, "title") == [
        "models-proxy: changes",
        "Provider failing: a, list: ok -> stale",
        "Model changed: m (a)",
        "Model removed: 7 further models (a)",
    ]
    assert texts(feed, "content") == [
        "Provider failing: a, list: ok -> stale\ntimed out",
        'Model changed: m (a)\ncontext_length: null -> 8192\nowned_by: "x" -> "y"',
        "Model removed: 7 further models (a)",
    ]
    assert texts(feed, "updated")[0] == "2027-01-15T08:00:02.000Z"
    assert texts(feed, "published") == [
        "2027-01-15T08:00:02.000Z",
        "2027-01-15T08:00:01.500Z",
        "2027-01-15T08:00:00.000Z",
    ]


def test_a_feed_has_what_atom_requires() -> None:
    feed = parsed(feed_of(added("m")))

    for element in (feed, *feed.iter(f"{NAMESPACE}entry")):
        assert {f"{NAMESPACE}id", f"{NAMESPACE}title", f"{NAMESPACE}updated"} <= {child.tag for child in element}
    assert texts(feed, "name") == ["models-proxy"]
    for each in texts(feed, "id"):
        assert UUID(str(each))


def test_a_feed_without_changes_is_valid() -> None:
    assert texts(parsed(feed_of()), "updated") == ["2027-01-15T08:00:00.000Z"]


def test_ids_of_entries_stay_when_others_are_added() -> None:
    before = feed_of(added("m"))
    after, _ = before.extended([added("n")], NOON + 1)

    assert texts(parsed(after), "id")[2:] == texts(parsed(before), "id")[1:]
    assert len(set(texts(parsed(after), "id"))) == 3


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("a & b \"c\" 'd' ]]>", "a & b \"c\" 'd' ]]>"),
        ("\u202eevil", "\u202eevil"),
        ("nul\0 bell\a escape\x1b last\uffff", "nul\ufffd bell\ufffd escape\ufffd last\ufffd"),
        ("x" * 10_000, "x" * 10_000),
    ],
)
def test_hostile_ids_are_text(model: str, shown: str) -> None:
    assert texts(parsed(feed_of(added(model))), "title")[1] == f"Model added: {shown} (a)"


def test_the_number_of_entries_is_bounded() -> None:
    feed = parsed(feed_of(*(added(f"m{number}") for number in range(MAX_ENTRIES + 1))))

    assert len(texts(feed, "published")) == MAX_ENTRIES
    assert texts(feed, "title")[1] == f"Model added: m{MAX_ENTRIES} (a)"


# -- who can read it ---------------------------------------------------------------------------------------------------


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(text.encode()).decode()}"}


async def reply(headers: dict[str, str], fetch: FakeFetch, clock: FakeClock, path: str = ATOM_PATH) -> Reply:
    async with started(config_of(CONFIG), fetch, clock) as app:
        return await reply_to(app, path, headers)


@pytest.mark.parametrize(
    "headers",
    [
        basic(f"anyone:{ADMIN}"),
        basic(f":{ADMIN}"),
        {"authorization": basic(f"x:{ADMIN}")["authorization"].replace("Basic", "basic")},
        {"authorization": f"Bearer {ADMIN}"},
        {"x-api-key": ADMIN},
    ],
)
async def test_an_admin_key_is_sent_as_the_password_or_as_anywhere(
    headers: dict[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    response = await reply(headers, fetch, clock)

    assert response.status == 200
    assert response.header("content-type") == "application/atom+xml; charset=utf-8"
    assert response.header("cache-control") == "no-store"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (basic("ops:wrong"), 401),
        (basic(f"{ADMIN}:"), 401),
        (basic(ADMIN), 401),
        ({"authorization": "Basic not base64"}, 401),
        ({"authorization": f"Basic {ADMIN}"}, 401),
        (basic(f"ops:{PLAIN}"), 403),
    ],
)
async def test_anything_else_is_rejected(
    headers: dict[str, str], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    response = await reply(headers, fetch, clock)

    challenges = [value for name, value in response.headers if name == b"www-authenticate"]
    expected = [b"Bearer", b'Basic realm="models-proxy", charset="UTF-8"'] if status == 401 else []
    assert (response.status, challenges) == (status, expected)


@pytest.mark.parametrize("path", ["/admin/changes", "/v1/models", "/metrics"])
async def test_no_other_path_accepts_a_password(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    response = await reply(basic(f"ops:{ADMIN}"), fetch, clock, path)

    assert (response.status, response.header("www-authenticate")) == (401, "Bearer")
