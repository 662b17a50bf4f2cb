"""The order in which the offers of a model are tried: `order`, `weighted`, `least_busy`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import count

import msgspec
import pytest

from proxy.asgi import Header
from proxy.catalog import Offer
from proxy.catalog.values import TargetOffer
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.json_body import JsonBody
from proxy.inference.routing import Candidate
from proxy.inference.strategies import Conversation, Strategies, strategies_of
from tests.fakes import config_of, entry

NAMES = ("a", "b", "c")


def strategies(
    more: str, weights: Mapping[str, int] | None = None, in_flight: Mapping[str, int] | None = None
) -> Strategies:
    """`more`: the sections `routing` and `models`; `in_flight`: a mapping that a test may change."""
    providers = [
        f"  - {{name: {name}, base_url: 'http://127.0.0.1/v1', weight: {(weights or {}).get(name, 1)}}}"
        for name in NAMES
    ]
    loads = in_flight if in_flight is not None else {}
    result = strategies_of(config_of("\n".join(("providers:", *providers, more))), lambda name: loads.get(name, 0))
    assert result is not None
    return result


def offered(*names: str, model: str = "m") -> list[Candidate]:
    """A candidate of each provider."""
    return [Candidate(Offer(model, name, "maker", entry(model)), {model: model}) for name in names]


def virtual(*targets: tuple[str, str]) -> list[Candidate]:
    """Candidates of the virtual model `v`: target and provider."""
    return [Candidate(TargetOffer("v", name, "maker", entry(target), target=target), {}) for target, name in targets]


def conversation(
    fields: Mapping[str, object] | None = None, key: str = "k", headers: Sequence[Header] = (), request_id: str = "r"
) -> Conversation:
    body = JsonBody(msgspec.json.encode({"model": "m", **(fields or {})}))
    return Conversation(key, body, headers, request_id)


def talk(text: str) -> Conversation:
    """A conversation that begins with a text."""
    return conversation({"messages": [{"role": "user", "content": text}]})


def providers_of(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.offer.provider for candidate in candidates]


# -- which strategy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("routing: [{match: '*', strategy: order}]\nmodels: [{id: v, targets: [m]}]", id="only order"),
    ],
)
def test_without_another_strategy_than_order_nothing_is_ordered(text: str) -> None:
    config = config_of("providers: [{name: a, kind: static, models: [{id: m}]}]\n" + text)

    assert strategies_of(config, lambda name: 0) is None


def test_the_first_rule_that_matches_the_model_is_used_and_others_keep_the_operators_order() -> None:
    rules = strategies(
        "routing: [{match: [m-fixed, other], strategy: order}, {match: 'm*', strategy: least_busy}]",
        in_flight={"a": 5, "b": 1},
    )
    batch = offered("a", "b")

    for model, expected in (("m-fixed", ["a", "b"]), ("m-1", ["b", "a"]), ("n", ["a", "b"])):
        assert providers_of(rules.ordered(conversation(), model, batch)) == expected


def test_the_targets_of_a_virtual_model_keep_their_order_and_the_offers_of_each_have_that_of_its_rule() -> None:
    rules = strategies(
        "models: [{id: v, targets: [q, m]}]\nrouting: [{match: q, strategy: least_busy}]", in_flight={"a": 9, "b": 1}
    )
    batch = virtual(("q", "a"), ("q", "b"), ("m", "a"), ("m", "b"))

    result = rules.ordered(conversation(), "v", batch)

    assert [(candidate.offer.entry.id, candidate.offer.provider) for candidate in result] == [
        ("q", "b"),
        ("q", "a"),
        ("m", "a"),
        ("m", "b"),
    ]


def test_a_virtual_model_with_another_strategy_orders_the_offers_of_all_targets() -> None:
    rules = strategies(
        "models: [{id: v, targets: [q, m], strategy: least_busy}]\nrouting: [{match: '*', strategy: order}]",
        in_flight={"a": 9, "b": 1, "c": 5},
    )

    assert providers_of(rules.ordered(conversation(), "v", virtual(("q", "a"), ("q", "b"), ("m", "c")))) == [
        "b",
        "c",
        "a",
    ]


# -- weighted ----------------------------------------------------------------------------------------------------------

WEIGHTED = "routing: [{match: '*', strategy: weighted}]"
TALKS = [talk(f"question {number}") for number in range(3000)]


def firsts(rules: Strategies, names: Sequence[str]) -> list[str]:
    """The first provider of each conversation."""
    return [rules.ordered(each, "m", offered(*names))[0].offer.provider for each in TALKS]


def test_conversations_are_shared_between_providers_in_proportion_to_their_weights() -> None:
    counts = Counter(firsts(strategies(WEIGHTED, {"a": 1, "b": 2, "c": 3}), NAMES))

    for name, share in (("a", 500), ("b", 1000), ("c", 1500)):
        assert abs(counts[name] - share) < 120, counts


@pytest.mark.parametrize("left", NAMES)
def test_a_removed_provider_moves_only_its_own_conversations(left: str) -> None:
    rules = strategies(WEIGHTED, {"a": 1, "b": 2, "c": 3})
    before = firsts(rules, NAMES)
    after = firsts(rules, [name for name in NAMES if name != left])

    moved = {was for was, now in zip(before, after, strict=True) if was != now}
    assert moved == {left}


def test_a_larger_weight_moves_conversations_only_to_that_provider() -> None:
    before, after = firsts(strategies(WEIGHTED), NAMES), firsts(strategies(WEIGHTED, {"b": 2}), NAMES)

    assert {now for was, now in zip(before, after, strict=True) if was != now} == {"b"}


def test_the_order_is_the_same_on_every_replica_and_in_any_order_of_the_file() -> None:
    one, other = strategies(WEIGHTED), strategies(WEIGHTED)

    for each in TALKS[:50]:
        expected = providers_of(one.ordered(each, "m", offered("a", "b", "c")))
        assert providers_of(other.ordered(each, "m", offered("c", "a", "b"))) == expected
    assert providers_of(one.ordered(talk("question 0"), "m", offered(*NAMES))) == ["c", "a", "b"]


SYSTEM = {"role": "system", "content": "You are helpful."}
FIRST = {"role": "user", "content": "hello"}
MARKED = {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]}
NEXT = [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"}]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"messages": [SYSTEM, FIRST]}, {"messages": [SYSTEM, FIRST, *NEXT]}, id="chat completions"),
        pytest.param({"messages": [FIRST]}, {"messages": [MARKED, *NEXT]}, id="Anthropic, with another cache mark"),
        pytest.param(
            {"input": [FIRST]}, {"input": [{**FIRST, "type": "message", "id": "msg_1"}, *NEXT]}, id="responses"
        ),
        pytest.param({"input": "hello"}, {"input": "hello", "temperature": 1}, id="a text"),
        pytest.param({"prompt": "hello"}, {"prompt": "hello", "n": 2}, id="completions"),
        pytest.param(
            {"prompt_cache_key": "c", "input": "x"}, {"prompt_cache_key": "c", "input": "y"}, id="a cache key"
        ),
    ],
)
def test_calls_of_one_conversation_have_the_same_name(one: Mapping[str, object], other: Mapping[str, object]) -> None:
    assert conversation(one).name == conversation(other).name != "r"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(conversation({"input": "x"}), conversation({"input": "y"}), id="the first message"),
        pytest.param(
            conversation({"messages": [SYSTEM, FIRST]}),
            conversation({"messages": [SYSTEM, {"role": "user", "content": "bye"}]}),
            id="the first message of the user, after the same system prompt",
        ),
        pytest.param(
            conversation({"prompt_cache_key": "c", "input": "x"}),
            conversation({"prompt_cache_key": "d", "input": "x"}),
            id="the cache key",
        ),
        pytest.param(
            conversation({"input": "x"}, headers=[(b"x-session-id", b"1")]),
            conversation({"input": "x"}, headers=[(b"x-session-id", b"2")]),
            id="the session",
        ),
        pytest.param(conversation(request_id="1"), conversation(request_id="2"), id="nothing: the request"),
    ],
)
def test_calls_of_different_conversations_have_different_names(one: Conversation, other: Conversation) -> None:
    assert one.name != other.name


def test_a_cache_key_takes_precedence_over_a_session_and_a_session_over_the_first_message() -> None:
    fields = {"prompt_cache_key": "key", "input": "text"}
    headers = [(b"session_id", b"session")]

    assert conversation(fields, headers=headers).name == "key"
    assert conversation({"input": "text"}, headers=headers).name == "session"
    assert conversation({"input": "text"}).name == "text"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"prompt_cache_key": 5, "messages": []}, id="values of other types"),
        pytest.param({"messages": {"role": "user"}}, id="an object"),
        pytest.param({"messages": [None, [], "x" * 10]}, id="messages of other types"),
        pytest.param({"messages": [{"role": "system", "content": "s"}] * 100}, id="no message of the user"),
    ],
)
def test_an_unusual_body_has_a_name(fields: Mapping[str, object]) -> None:
    assert conversation(fields).name


def test_a_deeply_nested_message_has_a_name() -> None:
    nested = b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 900 + b"]" * 900 + b"}]}"

    assert Conversation("k", JsonBody(nested), (), "r").name == "r"


def test_a_form_belongs_to_a_session_or_to_nothing() -> None:
    form = FormBody(
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n', b"multipart/form-data; boundary=x"
    )

    assert Conversation("k", form, [(b"x-session-id", b"s")], "r").name == "s"
    assert Conversation("k", form, (), "r").name == "r"


def test_two_keys_with_the_same_conversation_are_two_conversations() -> None:
    rules = strategies(WEIGHTED)
    orders = {
        tuple(providers_of(rules.ordered(conversation({"input": "x"}, key=f"k{number}"), "m", offered(*NAMES))))
        for number in range(40)
    }

    assert len(orders) == 6


# -- least_busy --------------------------------------------------------------------------------------------------------

LEAST_BUSY = "routing: [{match: '*', strategy: least_busy}]"


def test_the_provider_with_the_fewest_calls_relative_to_its_weight_is_first() -> None:
    rules = strategies(LEAST_BUSY, {"a": 4, "b": 1, "c": 1}, {"a": 4, "b": 2, "c": 0})

    assert providers_of(rules.ordered(conversation(), "m", offered(*NAMES))) == ["c", "a", "b"]


def test_providers_that_are_equally_busy_take_turns() -> None:
    rules = strategies(LEAST_BUSY)

    firsts = [rules.ordered(conversation(), "m", offered(*NAMES))[0].offer.provider for _ in range(7)]

    assert firsts == ["a", "b", "c", "a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("durations", "low", "high"),
    [
        pytest.param({"a": 5, "b": 5}, 90, 110, id="two equal servers share 45 to 55 %"),
        pytest.param({"a": 5, "b": 15}, 140, 160, id="a server that is three times as fast gets three times as many"),
    ],
)
def test_calls_go_where_fewer_are_in_flight(durations: Mapping[str, int], low: int, high: int) -> None:
    """200 calls, 16 at a time: each ends after the duration of its server, and the next one begins."""
    in_flight: Counter[str] = Counter()
    rules = strategies(LEAST_BUSY, in_flight=in_flight)
    served: Counter[str] = Counter()
    running: deque[tuple[int, str]] = deque()
    for now in count():
        for end, name in [call for call in running if call[0] <= now]:
            running.remove((end, name))
            in_flight[name] -= 1
        while len(running) < 16 and served.total() < 200:
            name = rules.ordered(conversation(), "m", offered("a", "b"))[0].offer.provider
            in_flight[name] += 1
            served[name] += 1
            running.append((now + durations[name], name))
        if not running:
            break

    assert low <= served["a"] <= high, served
