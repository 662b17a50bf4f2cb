"""The list of one policy: encoded once, compressed once, with its headers."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from proxy.access import Policy
from proxy.access.keys import PRIVATE
from proxy.catalog import Catalog, Model, Offer
from proxy.dialects.entry import Entry
from proxy.store import Status, View
from proxy.store.formats import MAX_PAGES
from proxy.store.names import Lazy, Names, name_index
from proxy.store.view import MAX_READY, RenderedList
from proxy.wire import JSON, OPENAI_LISTS
from proxy.wire.filters import Filters
from proxy.wire.openai import model_list
from tests.fakes import config_of
from tests.store.stores import ONE

pytestmark = pytest.mark.anyio


def rendered_of(*ids: str) -> RenderedList:
    catalog = Catalog(tuple(Model((Offer(one, "a", "maker", Entry(one)),), 0) for one in ids))
    return RenderedList(catalog, Names(catalog, Policy(["*"]), Lazy(lambda: name_index([], config_of(ONE)))))


def view_of(
    rendered: RenderedList,
    *,
    stale: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    incomplete: tuple[str, ...] = (),
    names: bool = True,
) -> View:
    status = Status(
        rendered.summary, oldest=None, stale=stale, missing=missing, incomplete=incomplete, shows_names=names
    )
    return View(rendered, status)


async def test_list_is_compressed_once_and_decompresses_to_the_same_bytes() -> None:
    rendered = rendered_of(*(f"m{n}" for n in range(200)))
    first, second = await asyncio.gather(rendered.compressed(), rendered.compressed())

    assert first is second
    assert await rendered.compressed() is first
    assert gzip.decompress(first) == rendered.identity == model_list(rendered.catalog.models)
    assert len(first) < rendered.size / 5


async def test_cancelled_waiter_does_not_cancel_compression_for_others() -> None:
    rendered = rendered_of("m")
    leaving, staying = asyncio.create_task(rendered.compressed()), asyncio.create_task(rendered.compressed())
    await asyncio.sleep(0)
    leaving.cancel()

    assert gzip.decompress(await staying) == rendered.identity
    assert leaving.cancelled()


async def test_equal_catalogs_have_equal_bytes_and_etags_and_different_ones_do_not() -> None:
    first, same, other = rendered_of("m", "n"), rendered_of("m", "n"), rendered_of("m")

    assert (first.identity, first.summary.etags, await first.compressed()) == (
        same.identity,
        same.summary.etags,
        await same.compressed(),
    )
    assert not set(first.etags) & set(other.etags)
    assert len(set(first.etags)) == 2, "each encoding has an ETag of its own"


async def test_a_response_has_the_headers_of_its_encoding() -> None:
    view = view_of(rendered_of("m"))
    plain_etag, packed_etag = view.status.etags
    plain = view.cached(OPENAI_LISTS, None, packed=False)
    before = view.cached(OPENAI_LISTS, None, packed=True)
    packed = await view.rendered.compressed()

    assert view.status.headers == [*PRIVATE]
    assert plain == (
        plain_etag,
        [JSON, (b"content-length", b"%d" % len(view.rendered.identity)), (b"etag", plain_etag), *PRIVATE],
        view.rendered.identity,
        (),
    )
    assert before is None, "it is not compressed yet"
    assert view.cached(OPENAI_LISTS, None, packed=True) == (
        packed_etag,
        [
            JSON,
            (b"content-length", b"%d" % len(packed)),
            (b"etag", packed_etag),
            *PRIVATE,
            (b"content-encoding", b"gzip"),
        ],
        packed,
        (),
    )


async def test_only_so_many_responses_are_kept() -> None:
    view = view_of(rendered_of("m"))
    response = view.cached(OPENAI_LISTS, None, packed=False)
    assert response
    for request in range(MAX_READY + 1):
        view.keep(request, response)

    assert view.ready == {MAX_READY: response}


async def test_responses_are_not_kept_longer_than_what_they_consist_of() -> None:
    view = view_of(rendered_of("m"))
    kept = []
    for number in range(MAX_PAGES + 1):
        part = Filters(q=f"not-listed-{number}")
        await view.rendered.encoded(OPENAI_LISTS, part, ())
        response = view.cached(OPENAI_LISTS, part, packed=False)
        assert response
        if number == 0:
            view.keep("the first request", response)
        kept.append(bool(view.ready))

    assert kept == [True] * MAX_PAGES + [False], "dropped with the first page that was evicted"


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        pytest.param(
            True,
            [(b"x-models-stale", b"a"), (b"x-models-missing", b"b, c"), (b"x-models-incomplete", b"d")],
            id="by name",
        ),
        pytest.param(
            False,
            [(b"x-models-stale", b"1"), (b"x-models-missing", b"2"), (b"x-models-incomplete", b"1")],
            id="by number",
        ),
    ],
)
async def test_stale_missing_and_incomplete_providers_are_named_only_with_access_to_all_models(
    names: bool, notes: list[tuple[bytes, bytes]]
) -> None:
    view = view_of(rendered_of("m"), stale=("a",), missing=("b", "c"), incomplete=("d",), names=names)

    assert view.status.headers == [*PRIVATE, *notes]
    ready = view.cached(OPENAI_LISTS, None, packed=False)
    assert ready
    assert [header for header in ready.headers if header[0].startswith(b"x-")] == notes
