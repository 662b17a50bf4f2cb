"""Problems and warnings name the place in the file where the value is written."""

from __future__ import annotations

from proxy.config.defaults import Cache
from proxy.config.document import read
from proxy.config.documents import Documents
from proxy.config.server import Server
from proxy.config.sources import SourceLog
from proxy.config.validation import PROVIDER_SETTINGS, Validation

FILE = """\
cache:
  ttl: 90
  max_stale:
server: {port: high, prot: 1}
providers:
  - {name: a}
  - {name: b}
  - {name: a}
keys: alice
"""


def validation_of(text: str = FILE, *, offline: bool = False, **environ: str) -> Validation:
    return Validation(Documents(read(text, "c.yaml", environ)), SourceLog(), offline=offline)


def problems_of(validation: Validation) -> list[str]:
    return [str(problem) for problem in validation.documents.problems]


def test_all_problems_of_a_section_are_reported_at_once() -> None:
    validation = validation_of()

    assert validation.section(Server, validation.documents.value, "server") is None
    assert problems_of(validation) == [
        "c.yaml:4: server.port: must be a whole number from 0 to 65535; found 'high'",
        "c.yaml:4: server.prot: unknown setting; did you mean 'port'?",
    ]


def test_an_empty_value_is_a_problem_and_a_duration_without_a_unit_a_warning() -> None:
    validation = validation_of()
    cache = validation.section(Cache, validation.documents.value, "cache")

    assert cache is not None
    assert (cache.ttl, cache.max_stale) == (90, Cache().max_stale)
    assert problems_of(validation) == ["c.yaml:3: cache.max_stale: has no value; set a value or remove the line"]
    text = "90 has no unit and is read as seconds; add a unit, like 250ms, 6s or 5m"
    assert validation.warnings == (f"c.yaml:2: cache.ttl: {text}",)


def test_a_duplicate_name_is_reported_where_it_is_repeated() -> None:
    validation = validation_of()
    validation.unique_names(validation.documents.value, "providers")

    assert problems_of(validation) == [
        "c.yaml:8: providers[2].name: duplicate name 'a', also at c.yaml:6; names must be unique"
    ]


def test_the_entries_of_a_section_have_paths_and_anything_but_a_list_is_a_problem() -> None:
    validation = validation_of()
    raw = validation.documents.value

    assert [path for path, _ in validation.entries(raw, "providers")] == [("providers", n) for n in range(3)]
    assert [*validation.entries(raw, "groups"), *validation.entries(raw, "keys")] == []
    assert problems_of(validation) == ["c.yaml:9: keys: must be a list: start each entry with `- `, or use [ ]"]


def test_an_inherited_value_is_reported_where_it_is_written() -> None:
    validation = validation_of()
    validation.inherited(("providers", 0, "ttl"), ("cache", "ttl"))

    assert validation.origin(("providers", 0, "ttl")) == ("cache", "ttl")
    assert validation.origin(("providers", 0, "ttl", 1)) == ("cache", "ttl", 1)
    assert validation.origin(("providers", 1, "ttl")) == ("providers", 1, "ttl")


def test_an_unknown_setting_is_quoted_only_if_it_is_similar_to_a_known_one() -> None:
    validation = validation_of()
    validation.unknown(("providers", 0, "base-url"), PROVIDER_SETTINGS)
    validation.unknown(("providers", 0, "sk-canary-1"), PROVIDER_SETTINGS)

    similar, secret = problems_of(validation)
    assert similar == "c.yaml:6: providers[0]: `base-url`: unknown setting; did you mean 'base_url'?"
    assert secret.startswith("c.yaml:6: providers[0]: unknown setting; valid settings: ")
    assert "canary" not in secret


def test_an_unset_variable_is_a_problem_or_offline_a_warning_and_its_value_is_not_checked() -> None:
    text = "server: {host: '${A_HOST}'}"
    place = ("server", "host")
    online, offline, given = validation_of(text), validation_of(text, offline=True), validation_of(text, A_HOST="h")
    for validation in (online, offline):
        validation.unset(place)

    words = "environment variable A_HOST is not set or empty"
    assert problems_of(online) == [f"c.yaml:1: server.host: {words}; set it, or add a default: ${{A_HOST:-...}}"]
    assert (problems_of(offline), offline.warnings) == (
        [],
        (f"c.yaml:1: server.host: {words}; this value was not checked",),
    )
    assert [one.is_unresolved(place) for one in (online, offline, given)] == [True, True, False]
