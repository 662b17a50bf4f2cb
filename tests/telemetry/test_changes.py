"""The change feed as a value: ids, repeated changes, limits, merging, and its bytes."""

from __future__ import annotations

import msgspec
import pytest

from proxy.telemetry.changes import MAX_CHANGES, Change, ChangeType, Feed, FieldChange, decoded, encoded

NOON = 1_800_000_000.0
MICRO = 1_800_000_000_000_000


def model(name: str, kind: ChangeType = "model_added", at: float = NOON, provider: str = "a") -> Change:
    return Change(at=at, type=kind, provider=provider, model=name)


def state(after: str, before: str = "ok", part: str = "list") -> Change:
    kind: ChangeType = "provider_recovered" if after == "ok" else "provider_failing"
    return Change(at=NOON, type=kind, provider="a", part=part, before=before, after=after)  # type: ignore[arg-type]


def described(feed: Feed) -> list[tuple[int, str, str]]:
    return [(change.id - MICRO, change.type, change.model or change.after) for change in feed.changes]


def test_ids_are_the_time_and_grow_within_one_microsecond() -> None:
    feed, new = Feed().extended([model("m"), model("n")], NOON)
    feed, _ = feed.extended([model("o")], NOON - 100)  # the clock was set back

    assert described(feed) == [(0, "model_added", "m"), (1, "model_added", "n"), (2, "model_added", "o")]
    assert [change.model for change in new] == ["m", "n"]
    assert feed.last_id == MICRO + 2


def test_changes_after_an_id_are_those_that_were_added_later() -> None:
    feed, _ = Feed().extended([model("m"), model("n")], NOON)

    assert [change.model for change in feed.since(MICRO)] == ["n"]
    assert [change.model for change in feed.since(0)] == ["m", "n"]


@pytest.mark.parametrize(
    ("second", "is_new"),
    [
        pytest.param(model("m", at=NOON + 60), False, id="the same change"),
        pytest.param(model("m", at=NOON + 3601), True, id="after an hour"),
        pytest.param(model("m", "model_removed"), True, id="another change"),
        pytest.param(model("m", provider="b"), True, id="of another provider"),
        pytest.param(model("n"), True, id="of another model"),
    ],
)
def test_a_change_that_another_process_has_recorded_is_not_repeated(second: Change, is_new: bool) -> None:
    feed, _ = Feed().extended([model("m")], NOON)

    _, new = feed.extended([second], NOON + 1)

    assert bool(new) is is_new


def test_a_provider_has_changes_only_when_its_state_differs() -> None:
    feed, _ = Feed().extended([state("ok"), state("failing"), state("failing"), state("open", part="calls")], NOON)
    feed, _ = feed.extended([state("ok", "failing"), state("ok")], NOON + 60)

    assert [(change.part, change.after) for change in feed.changes] == [
        ("list", "failing"),
        ("calls", "open"),
        ("list", "ok"),
    ]
    assert (feed.state("a", "list"), feed.state("a", "calls"), feed.state("b", "list")) == ("ok", "open", "ok")


def webhook_ids(feed: Feed, *changes: Change, at: float = NOON) -> list[str]:
    return [change.webhook_id for change in feed.extended(changes, at)[1]]


def test_the_id_of_notifications_is_the_same_wherever_a_change_is_detected() -> None:
    feed, _ = Feed(complete_after=1).extended([model("m"), state("stale")], NOON)
    changes = [model("m", "model_removed"), model("m"), model("n"), state("ok", "stale"), state("failing")]
    later = [msgspec.structs.replace(change, at=NOON + 60, reason="another one") for change in changes]

    ids = webhook_ids(feed, *changes)
    assert webhook_ids(feed, *later[2:], *later[:2], at=NOON + 61) == [*ids[2:], *ids[:2]]
    assert len(set(ids)) == 5


def test_the_id_of_notifications_differs_when_a_change_happens_again() -> None:
    feed = Feed(complete_after=1)
    ids: list[str] = []
    for kind in ("model_added", "model_removed", "model_added"):
        feed, new = feed.extended([model("m", kind)], NOON)
        ids += [change.webhook_id for change in new]
    assert len(set(ids)) == 3


def test_the_id_of_notifications_differs_when_the_change_before_is_not_kept_any_more() -> None:
    feed, first = Feed(complete_after=1).extended([model("m", "model_removed")], NOON)
    feed, _ = feed.extended((model(f"m{number}") for number in range(MAX_CHANGES)), NOON)

    assert "m" not in {change.model for change in feed.changes}
    assert webhook_ids(feed, model("m", "model_removed")) != [first[0].webhook_id]


def test_the_id_of_notifications_is_that_of_one_deployment() -> None:
    assert webhook_ids(Feed(complete_after=1), model("m")) != webhook_ids(Feed(complete_after=2), model("m"))


def test_the_feed_contains_the_last_changes_and_from_where_it_is_complete() -> None:
    feed, _ = Feed(complete_after=5).extended([model(f"m{each}") for each in range(MAX_CHANGES + 2)], NOON)

    assert (len(feed.changes), feed.changes[0].model, feed.complete_after) == (MAX_CHANGES, "m2", MICRO + 1)


def test_two_feeds_are_merged_in_the_order_of_ids() -> None:
    common, _ = Feed(complete_after=5).extended([model("m"), state("failing")], NOON)
    one, _ = common.extended([model("n"), state("ok", "failing")], NOON + 2)
    other, _ = common.extended([model("o")], NOON + 1)

    merged = one.merged(other)

    assert merged == other.merged(one)
    assert [change.model or change.after for change in merged.changes] == ["m", "failing", "o", "n", "ok"]
    assert (merged.state("a", "list"), merged.complete_after) == ("ok", 5)


def test_a_feed_survives_its_encoding() -> None:
    changed = Change(
        at=NOON, type="model_changed", provider="a", model="m", fields=(FieldChange("context_length", None, 8192),)
    )
    feed, _ = Feed(complete_after=5).extended([changed, state("failing"), model("", "model_removed")], NOON)

    assert decoded(encoded(feed)) == feed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"not msgpack", "Expected"),
        (encoded(Feed((model("m"), model("n")))), "ids do not grow"),
        (
            encoded(Feed(tuple(Change(at=0, type="model_added", provider="a", id=n) for n in range(MAX_CHANGES + 1)))),
            "more than 1,000 changes",
        ),
    ],
)
def test_other_bytes_are_no_feed(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decoded(data)
