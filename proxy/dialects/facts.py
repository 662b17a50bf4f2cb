"""Find facts about a model (limits, capabilities, type) under the many names that providers use.

Names are compared in lower case without separators: `maxContextLength` and `max_context_length` are one. They are
looked up once per combination of field names, so an entry costs one look-up in a cache.

What can be used now wins over what is possible (a loaded context over the maximum), and of limits per route the
smallest counts. A capability is true with any sign of it, false only where that is
explicit, and never guessed from an id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from proxy.dialects import fact_names
from proxy.dialects.fact_readers import NAMES, known_type, levels, methods, of_arrow, signs, type_if_true, vision_type
from proxy.dialects.field_sources import FieldSource, Sources, known_values, ordered
from proxy.dialects.getters import getter, optional_getter
from proxy.dialects.metadata import Reader, capability, inputs, outputs, plain_name, whole

Shape = tuple[tuple[Any, ...] | None, ...]
"""The names in each group of an entry, None where it is no object. A nested object is a tuple of its name and names."""


class _Rule(NamedTuple):
    """A fact that a field of a certain name contains."""

    rank: int
    """Lower ranks win."""
    fact: str
    read: Reader


ROW_RANK = -1
"""The rank of the paths in a dialect's row, and of those that the operator names: before everything else."""
_USABLE, _COMMON, _POSSIBLE, _ROUTES = 0, 1000, 2000, 3000
_NESTED = 100  # added to the rank of a fact in a group, for each level

_MAX_ROUTES = 100

_OPENROUTER = (
    # Groups that thousands of entries have, in one spelling: reading their paths costs less than a look-up.
    ("architecture", "input_modalities", "modality", "input_modalities", _COMMON),
    ("architecture", "output_modalities", "modality", "output_modalities", _COMMON),
    ("top_provider", "max_completion_tokens", "", "max_output_tokens", _COMMON + 90),
    ("top_provider", "context_length", "", "context_length", _COMMON + 90),
)


# -- readers of objects ------------------------------------------------------------------------------------------------


def _properties(value: object, price_per: int) -> Mapping[str, Any]:
    """The facts in a list of names and values (Cloudflare: `{"property_id": "context_window", "value": "8192"}`)."""
    names = ("property_id", "name", "key")
    return facts_of(
        {
            name: item["value"]
            for item in _objects(value)
            if "value" in item and isinstance(name := next((item[each] for each in names if each in item), None), str)
        }
    )


def _routes(value: object, price_per: int) -> Mapping[str, Any]:
    """The facts of a model that is served on several routes."""
    matches = [facts_of(route) for route in _objects(value)]
    return {
        **_smallest(matches, "context_length"),
        **_smallest(matches, "max_output_tokens"),
        **_any(matches, "supports_tools"),
        **_any(matches, "supports_reasoning"),
    }


def _loaded(value: object, price_per: int) -> Mapping[str, Any]:
    """The context with which a model is loaded."""
    return _smallest([facts_of(instance) for instance in _objects(value)], "context_length")


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    routes = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (route for route, _ in zip(routes, range(_MAX_ROUTES), strict=False) if isinstance(route, dict))


def _smallest(matches: Sequence[Mapping[str, Any]], fact: str) -> Mapping[str, Any]:
    values = [facts[fact] for facts in matches if fact in facts]
    return {fact: min(values)} if values else {}


def _any(matches: Sequence[Mapping[str, Any]], fact: str) -> Mapping[str, Any]:
    values = [facts[fact] for facts in matches if fact in facts]
    return {fact: any(values)} if values else {}


# -- rules -------------------------------------------------------------------------------------------------------------


def _ranked(fact: str, names: Iterable[str], read: Reader, first: int = _COMMON) -> Iterator[tuple[str, _Rule]]:
    return ((name, _Rule(rank, fact, read)) for rank, name in enumerate(names, first))


def _table(*rules: Iterable[tuple[str, _Rule]]) -> Mapping[str, Sequence[_Rule]]:
    table: dict[str, list[_Rule]] = {}
    for name, rule in chain(*rules):
        table.setdefault(name, []).append(rule)
    return table


_BY_CATEGORY: Mapping[int, Mapping[str, Sequence[_Rule]]] = {
    fact_names.LIMITS: _table(
        _ranked("context_length", fact_names.CONTEXT_IN_USE, whole, _USABLE),
        _ranked("context_length", fact_names.CONTEXT, whole),
        _ranked("context_length", fact_names.CONTEXT_POSSIBLE, whole, _POSSIBLE),
        _ranked("max_output_tokens", fact_names.OUTPUT, whole),
    ),
    fact_names.FLAGS: _table(
        _ranked("supports_tools", fact_names.TOOLS, capability),
        _ranked("supports_reasoning", fact_names.REASONING, capability),
        _ranked("supports_reasoning", fact_names.REASONING_LEVELS, levels),
        _ranked(fact_names.IMAGE, fact_names.IMAGE_FLAGS, capability),
        _ranked(fact_names.AUDIO, fact_names.AUDIO_FLAGS, capability),
        _ranked(fact_names.VIDEO, fact_names.VIDEO_FLAGS, capability),
        _ranked(fact_names.FILE, fact_names.FILE_FLAGS, capability),
        _ranked("type", ["supportschat", "chat", "chatcompletion", "chatcompletions", "completionchat"],
                type_if_true("chat"), _POSSIBLE),
        _ranked("type", ["embedding", "embeddings", "supportsembeddings"], type_if_true("embedding"), _POSSIBLE + 10),
        _ranked("type", ["rerank"], type_if_true("rerank"), _POSSIBLE + 20),
        _ranked("type", ["completion", "completions"], type_if_true("completion"), _POSSIBLE + 30),
    ),
    fact_names.MODALITIES: _table(
        _ranked("input_modalities", fact_names.INPUT_MODALITIES, inputs),
        _ranked("output_modalities", fact_names.OUTPUT_MODALITIES, outputs),
        _ranked("input_modalities", ["modality", "modalities"], of_arrow(inputs), _POSSIBLE),
        _ranked("output_modalities", ["modality", "modalities"], of_arrow(outputs), _POSSIBLE),
    ),
    fact_names.TYPE: _table(
        _ranked("type", ["type", "modeltype", "mode", "task", "pipelinetag", "domain", "category"], known_type),
        _ranked(fact_names.IMAGE, ["type", "modeltype", "task", "pipelinetag", "domain"], vision_type),
    ),
}  # fmt: skip
_SHORT = _table(
    _ranked(
        "context_length", ["context", "total", "window", "input", "prompt"], whole, _COMMON + len(fact_names.CONTEXT)
    ),
    _ranked("max_output_tokens", ["output", "completion"], whole, _COMMON + len(fact_names.OUTPUT)),
)
_SHORT_MODALITIES = _table(
    _ranked("input_modalities", ["input", "inputs", "in"], inputs),
    _ranked("output_modalities", ["output", "outputs", "out"], outputs),
)
_OUTERMOST = _table(
    _ranked("", ["loadedinstances"], _loaded, _USABLE),
    _ranked("", ["properties"], _properties),
    _ranked("", fact_names.METHODS, methods, _POSSIBLE),
    _ranked("", fact_names.ROUTE_LISTS, _routes, _ROUTES),
)
_WORDS = _table(
    *(_ranked("", [name], signs(name in fact_names.ABILITIES), _POSSIBLE + 50) for name in fact_names.WORD_LISTS)
)


def _rules_for(name: str, categories: int) -> Iterator[_Rule]:
    """The rules for a field of this (plain) name, where these categories are looked for."""
    for category, table in _BY_CATEGORY.items():
        if categories & category:
            yield from table.get(name, ())
    if categories & fact_names.FLAGS:
        yield from _WORDS.get(name, ())


_EVERYTHING = fact_names.LIMITS | fact_names.FLAGS | fact_names.MODALITIES | fact_names.TYPE
_AT_TOP = {
    name: (*_rules_for(name, _EVERYTHING), *_OUTERMOST.get(name, ()))
    for name in {*chain(*_BY_CATEGORY.values()), *_WORDS, *_OUTERMOST}
}
"""The rules for the outermost fields of an entry."""


def is_fact(field: str) -> bool:
    """Whether a field of this name contains a fact about a model."""
    return plain_name(field) in _AT_TOP


def groups_in(fields: Iterable[str]) -> tuple[str, ...]:
    """Those of the fields whose objects may contain facts. Groups that may contain further groups come last."""
    groups = [field for field in fields if plain_name(field) in fact_names.GROUPS]
    return tuple(sorted(groups, key=_is_deep))


def _is_deep(group: str) -> bool:
    return bool(fact_names.GROUPS[plain_name(group)] & fact_names.FLAGS)


def shape_reader(groups: Sequence[str]) -> Callable[[Mapping[str, Any]], Shape]:
    """Return a function from an entry to the names in these groups."""
    flat = [group for group in groups if not _is_deep(group)]
    deep = groups[len(flat) :]

    def shape_of(payload: Mapping[str, Any]) -> Shape:
        shape = tuple([tuple(value) if type(value := payload[group]) is dict else None for group in flat])
        return (*shape, *[_names_in(payload[group]) for group in deep]) if deep else shape

    return shape_of


def _names_in(value: object) -> tuple[Any, ...] | None:
    if type(value) is not dict:
        return None
    return tuple([name if type(inner) is not dict else (name, *inner) for name, inner in value.items()])


def fact_sources(fields: Sequence[str], groups: Sequence[str], shape: Shape) -> Iterator[tuple[int, FieldSource]]:
    """The sources of facts in entries with these fields and this shape, each with its rank. Lower ranks win."""
    plain = [plain_name(field) for field in fields]
    for field, name in zip(fields, plain, strict=True):
        for rule in _AT_TOP.get(name, ()):
            yield rule.rank, FieldSource(rule.fact, "", itemgetter(field), rule.read, field)
        if name == "maxtokens" and "contextwindow" in plain:  # Vercel; elsewhere it may be the context
            yield _POSSIBLE, FieldSource("max_output_tokens", "", itemgetter(field), whole, field)
    for group, inner, arrow, fact, rank in _OPENROUTER:
        if group in fields:
            yield rank, FieldSource(fact, "", optional_getter(group, inner, arrow), NAMES[fact], f"{group}.{inner}")
    for group, names in zip(groups, shape, strict=True):
        yield from _nested((group,), names or (), fact_names.GROUPS[plain_name(group)], _NESTED)


def _nested(
    path: tuple[str, ...], names: Sequence[Any], categories: int, added: int
) -> Iterator[tuple[int, FieldSource]]:
    group = plain_name(path[-1])
    for field in names:
        if isinstance(field, tuple):
            inner, *deeper = field
            name = plain_name(inner)
            yield from _nested(
                (*path, inner), deeper, fact_names.GROUPS.get(name, categories & fact_names.FLAGS), added + _NESTED
            )
        else:
            inner, name = field, plain_name(field)
        rules = [*_rules_for(name, categories)]
        if group in fact_names.SHORT_LIMITS:
            rules += _SHORT.get(name, ())
        if categories == fact_names.MODALITIES:
            rules += _SHORT_MODALITIES.get(name, ())
        for rule in rules:
            yield (
                rule.rank + added,
                FieldSource(rule.fact, "", getter(*path, inner), rule.read, ".".join((*path, inner))),
            )


# -- values ------------------------------------------------------------------------------------------------------------


def facts_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """All facts of an object, by standard name."""
    known, _ = known_values(payload, sources_of(payload), 1)
    return known


def sources_of(payload: Mapping[str, Any]) -> Sources:
    """The fields of an object that may contain facts."""
    fields = tuple(payload)
    groups = groups_in(fields)
    return _sources_of(fields, groups, shape_reader(groups)(payload))


@lru_cache(256)
def _sources_of(fields: tuple[str, ...], groups: tuple[str, ...], shape: Shape) -> Sources:
    return ordered(fact_sources(fields, groups, shape))
