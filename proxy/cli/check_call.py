"""`check --call`: one small call of a model to each of its providers, by the rules of the file.

Each call passes the whole application, with a configuration that has only this provider, so that there is no failover.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec

from proxy.access import Policy
from proxy.calls import Api
from proxy.catalog import FetchResult, Offer
from proxy.catalog.values import TargetOffer
from proxy.cli.audit import Audit
from proxy.cli.call_result import CallResult
from proxy.cli.probe_result import ProbeResult
from proxy.cli.terminal import Failure
from proxy.clock import Clock
from proxy.config import Config, Provider
from proxy.config.server import Server
from proxy.config.settings import Group
from proxy.config.store import StoreSettings
from proxy.inference.request.json_spans import member_spans_or_empty
from proxy.inference.response.fields import FIELDS, ResponseFields
from proxy.inference.response.tokens import reported_tokens
from proxy.server.app import Proxy
from proxy.store.names import Lazy, Names, name_index

TIMEOUT = 30.0
"""Seconds for each call."""
_QUESTION = [{"role": "user", "content": "Hi"}]
_OTHER_LIMIT = "max_completion_tokens"
"""Some models reject `max_tokens`, and use this parameter for their thoughts, too."""
_OTHER_TOKENS = 16


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None
    type: str | None = None


class _Body(msgspec.Struct):
    """A response of any API, or an error."""

    error: _Error | str | None = None


def offers_of(audit: Audit, model: str, key: str | None) -> Sequence[Offer]:
    """The offers of a model, in the order of the file: with a listed id, or another name that a provider accepts.

    Raises Failure if there is none.
    """
    rules = audit.rules_of(key)
    catalog = audit.catalog(rules)
    sources = [result.source(audit.offers[result.provider.name]) for result in audit.results]
    names = Names(catalog, Policy(rules), Lazy(lambda: name_index(sources, audit.config)))
    found = catalog.find(model) or names.find(model)
    if found is None:
        similar = names.similar(model)
        hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
        of_key = f" to key {key}" if key else ""
        raise Failure(f"model {model} is not listed{of_key}{hint}")
    return found.offers


async def call_each(
    audit: Audit, model: str, offers: Sequence[Offer], key: str | None, clock: Clock
) -> list[CallResult]:
    """Send a call to each of these offers, concurrently."""
    results = {result.provider.name: result for result in audit.results}
    with _without_log():
        return await asyncio.gather(
            *(_call(audit, model, offer, results[offer.provider], key, clock) for offer in offers)
        )


async def _call(
    audit: Audit, model: str, offer: Offer, probed: ProbeResult, key: str | None, clock: Clock
) -> CallResult:
    target = offer.target if isinstance(offer, TargetOffer) else None
    result = CallResult(offer.provider, offer.entry.id, target, "not_callable")
    called = probed.provider.target
    if called is None:
        return result
    api: Api = "openai" if "openai" in called.speaks else called.speaks[0]
    path, bodies = _requests(model, offer, api)
    app = Proxy(_only(audit, model, offer, key), clock=clock, fetch=_fetched(probed))
    async with app.lifespan():
        for body in bodies:
            began = clock.monotonic()
            status, content = await _post(app, path, msgspec.json.encode(body))
            result = _result(result, path, status, content, clock.monotonic() - began, FIELDS[api])
            if result.error is None or _OTHER_LIMIT not in result.error["message"]:
                break
    return result


def _requests(model: str, offer: Offer, api: Api) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """The path, and the body to send; a second one for models that reject the first."""
    if api == "anthropic":
        return "/v1/messages", [{"model": model, "messages": _QUESTION, "max_tokens": 1}]
    is_embedding = msgspec.json.decode(offer.entry.extra).get("type") == "embedding"
    if api == "gemini":
        content = {"parts": [{"text": "Hi"}]}
        if is_embedding:
            return f"/v1beta/models/{model}:embedContent", [{"content": content}]
        limit = {"maxOutputTokens": _OTHER_TOKENS}
        return f"/v1beta/models/{model}:generateContent", [{"contents": [content], "generationConfig": limit}]
    if api == "ollama":
        if is_embedding:
            return "/api/embed", [{"model": model, "input": "Hi"}]
        options = {"num_predict": 1}
        return "/api/chat", [{"model": model, "messages": _QUESTION, "stream": False, "options": options}]
    if is_embedding:
        return "/v1/embeddings", [{"model": model, "input": "Hi"}]
    body = {"model": model, "messages": _QUESTION}
    return "/v1/chat/completions", [{**body, "max_tokens": 1}, {**body, _OTHER_LIMIT: _OTHER_TOKENS}]


def _only(audit: Audit, model: str, offer: Offer, key: str | None) -> Config:
    """The configuration with one provider, in which requests without a key have the permissions of the key."""
    config = audit.config
    provider = next(each for each in config.providers if each.name == offer.provider)
    limits = {
        name: min(getattr(provider, name), TIMEOUT) for name in ("first_byte_timeout", "idle_timeout", "call_timeout")
    }
    models = config.models
    if isinstance(offer, TargetOffer):
        models = tuple(each.model_copy(update={"targets": (offer.target,)}) for each in models if each.id == model)
    return replace(
        config,
        server=Server(metrics="off"),
        providers=(provider.model_copy(update=limits),),
        skipped=(),
        keys=(),
        groups={"default": Group(models=tuple(audit.rules_of(key)), call=True)},
        models=models,
        store=StoreSettings(),
    )


def _fetched(probed: ProbeResult) -> Any:
    """The list that was fetched before."""

    async def fetch(provider: Provider, retries: int) -> FetchResult:
        if probed.fetched is None:
            assert probed.error is not None, "remote providers were contacted"
            raise probed.error
        return probed.fetched

    return fetch


async def _post(app: Proxy, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a request to the application. Returns the status and the body of the response."""
    messages: Iterator[MutableMapping[str, Any]] = iter([{"type": "http.request", "body": body, "more_body": False}])
    status, content = 0, bytearray()

    async def receive() -> MutableMapping[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError("the client never disconnects")

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        content.extend(message.get("body", b""))

    headers = {
        b"host": b"localhost",
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(body),
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": quote(path, safe="/:").encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    await app(scope, receive, send)
    return status, bytes(content)


def _result(
    result: CallResult, path: str, status: int, content: bytes, seconds: float, fields: ResponseFields
) -> CallResult:
    try:
        body = msgspec.json.decode(content, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = _Body()
    error = _Error(body.error) if isinstance(body.error, str) else body.error
    tokens = None
    if fields.usage_mark in content:
        counted = reported_tokens(content, member_spans_or_empty(content), fields)
        tokens = {"input": counted.input, "output": counted.output}
    is_ok = 200 <= status < 300
    if not is_ok and error is None:
        error = _Error("the provider sent no message")
    return replace(
        result,
        state="ok" if is_ok else "limited" if status == 429 else "failing",
        path=path,
        status=status,
        seconds=round(seconds, 3),
        tokens=tokens,
        error=None if is_ok or error is None else {"code": str(error.code or error.type), "message": error.message},
    )


@contextmanager
def _without_log() -> Iterator[None]:
    """The results contain the failures, so they are not logged, too."""
    log = logging.getLogger("models_proxy")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
