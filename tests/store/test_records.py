"""Lists as bytes: what comes back, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import inf, nan

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.catalog import FetchResult
from proxy.catalog.times import Reported
from proxy.config import Provider
from proxy.dialects.entry import DEFAULT_PERMISSIONS, Entry, Permission
from proxy.store import envelope, records
from proxy.store.envelope import HEAD_SIZE, RecordError, seal
from proxy.store.fingerprint import Fingerprint, fingerprint
from proxy.store.records import ListRecord, decode, encode
from proxy.store.shrinkage import Shrinkage
from tests.fakes import config_of

PROVIDER: Provider = config_of("providers: [{name: a, base_url: 'http://127.0.0.1:9/v1', api_key: sk-fake}]").providers[
    0
]
PRINT = fingerprint(PROVIDER)
ENTRIES = (
    Entry("m", "acme", 1_700_000_000, "m", extra=b'{"context_length":5}'),
    Entry("n", "acme", 0, "base", "parent", (Permission(False),), b"{}", b'{"id":"n"}', "models/n", ("x", "y")),
    Entry("gone", root="gone"),
)
RECORD = ListRecord(
    ENTRIES,
    1_800_000_000.5,
    FetchResult((), 2, 3, {"id is not a string": 4}, 5, 6, "`total` is 9", 1_800_000_000.0, "/v2"),
    {"gone": 1_799_999_000.0},
    {"n": Reported(1_799_000_000, -inf), "m": Reported(7, 1_800_000_000.0)},
    Shrinkage(10, 2, 1_799_999_999.0, 2),
    ("m", "old"),
)
DATA = encode(RECORD, PROVIDER, PRINT)


def refused(data: bytes, of: Fingerprint = PRINT) -> str:
    with pytest.raises(RecordError) as error:
        decode(data, of)
    return str(error.value)


def test_record_comes_back_as_it_was() -> None:
    assert decode(DATA, PRINT) == RECORD


def test_equal_texts_share_memory() -> None:
    decoded = decode(DATA, PRINT)
    first, second, gone = decoded.entries

    assert first.owner is second.owner
    assert first.id is first.root is (decoded.first_names or ())[0]
    assert first.permissions is DEFAULT_PERMISSIONS
    assert next(iter(decoded.unseen)) is gone.id


def test_long_list_comes_back_as_it_was() -> None:
    record = msgspec.structs.replace(
        RECORD, entries=tuple(Entry(f"m{i}", root=f"m{i}") for i in range(1001)), unseen={}
    )

    assert decode(encode(record, PROVIDER, PRINT), PRINT) == record


def test_bytes_are_the_same_for_the_same_record() -> None:
    assert encode(decode(DATA, PRINT), PROVIDER, PRINT) == DATA


def test_entries_of_the_fetch_are_not_stored() -> None:
    with_entries = msgspec.structs.replace(RECORD, result=replace(RECORD.result, entries=(Entry("hidden-77"),)))

    assert b"hidden-77" not in encode(with_entries, PROVIDER, PRINT)


def test_record_of_other_credentials_or_under_another_name_is_refused() -> None:
    other = config_of("providers: [{name: a, base_url: 'http://127.0.0.1:9/v1', api_key: sk-other}]").providers[0]

    assert refused(DATA, fingerprint(other)) == "wrong checksum, or written with other credentials"


@pytest.mark.parametrize("size", [0, 1, 15, 16, HEAD_SIZE - 1, HEAD_SIZE, len(DATA) - 1])
def test_truncated_record_is_refused(size: int) -> None:
    assert refused(DATA[:size]) == ("truncated" if size else "not written by models-proxy")


def test_foreign_longer_and_altered_bytes_are_refused() -> None:
    assert refused(b"PK\3\4" + DATA) == "not written by models-proxy"
    assert refused(DATA + b"x") == "larger than its declared length"
    assert refused(DATA[:-1] + b"?") == "wrong checksum, or written with other credentials"


def test_records_of_other_versions_and_kinds_are_refused() -> None:
    payload = DATA[HEAD_SIZE:]

    assert refused(seal(b"list", records.SCHEMA + 1, PRINT.key, payload)) == "written by a newer version"
    assert refused(seal(b"list", records.SCHEMA - 1, PRINT.key, payload)) == "written by an older version"
    assert refused(seal(b"ledger", records.SCHEMA, PRINT.key, payload)) == "not a record of this kind"


def test_oversized_record_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "MAX_PAYLOAD", 100)

    with pytest.raises(RecordError, match="larger than 100 bytes"):
        encode(RECORD, PROVIDER, PRINT)
    assert refused(DATA) == "larger than 100 bytes"


@pytest.mark.parametrize(
    "changes",
    [
        {"entries": (Entry(""),)},
        {"entries": (Entry("m", extra=b"no JSON"),), "unseen": {}},
        {"fetched_at": nan},
        {"unseen": {"unknown": 1.0}},
        {"unseen": {"gone": inf}},
    ],
    ids=str,
)
def test_content_that_cannot_be_listed_is_refused(changes: dict[str, object]) -> None:
    assert refused(encode(msgspec.structs.replace(RECORD, **changes), PROVIDER, PRINT)).startswith("invalid content")


@given(st.binary(max_size=300))
def test_any_content_is_refused_without_another_error(payload: bytes) -> None:
    assert refused(seal(b"list", records.SCHEMA, PRINT.key, payload)).startswith("invalid content")


@given(st.integers(0, len(DATA) - HEAD_SIZE - 1), st.binary(min_size=1, max_size=4))
def test_altered_content_with_a_valid_checksum_is_refused_or_read(at: int, found: bytes) -> None:
    payload = DATA[HEAD_SIZE:]
    altered = seal(b"list", records.SCHEMA, PRINT.key, payload[:at] + found + payload[at + len(found) :])

    with suppress(RecordError):
        decode(altered, PRINT)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    refused(data)


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_one_wrong_byte_is_refused(at: int, difference: int) -> None:
    refused(DATA[:at] + bytes([DATA[at] ^ difference]) + DATA[at + 1 :])
