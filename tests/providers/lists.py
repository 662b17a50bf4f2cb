"""Model lists of fake providers: examples of providers' documentation, and scripts that return lists."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes import documented
from tests.providers.scripted import Exchange, Script, replies
from tests.providers.server import response_head

AIHUBMIX: dict[str, Any] = documented("aihubmix_zh")
"""The example response of AiHubMix's documentation."""

CTYUN = """{
"object":"list",
"data":[
{
"id":"测试模型名称1",
"object":"model",
"created":"",
"owned_by":""
}
]
}
""".encode()
"""The example response of ctyun's documentation, byte for byte."""

CTYUN_WRONG_KEY = """{
"code":500004,
"detail":"AppKey不正确,请使用正确的AppKey",
"message":"INCORRECT_API_KEY_PROVIDED",
"error":{
"code":"500004",
"message":"AppKey不正确,请使用正确的AppKey",
"type":"INCORRECT_API_KEY_PROVIDED"
}
}
""".encode()
"""The example error of ctyun's documentation, byte for byte."""


def lists(*models: str | Mapping[str, object]) -> Script:
    """A list in the OpenAI dialect, from ids or objects."""
    data = [{"id": model, "object": "model"} if isinstance(model, str) else model for model in models]
    return replies({"object": "list", "data": data})


async def drips(exchange: Exchange) -> None:
    """Send a valid list, one byte every tenth of a second."""
    body = b'{"data":[' + b",".join(b'{"id":"dripped-%d"}' % number for number in range(100)) + b"]}"
    await exchange.send(response_head(200, {"Content-Length": str(len(body)), "Connection": "close"}))
    for byte in body:
        await exchange.send(bytes([byte]))
        await asyncio.sleep(0.1)


async def floods(exchange: Exchange) -> None:
    """Send a valid list of 200 MB in chunks, without announcing its length."""
    entries = b",".join(b'{"id":"flooded-%07d","object":"model"}' % number for number in range(2_000))
    await exchange.head(200, {"Content-Type": "application/json"})
    await exchange.chunk(b'{"data":[{"id":"flooded"}')
    for _ in range(200_000_000 // len(entries)):
        await exchange.chunk(b"," + entries)
    await exchange.chunk(b"]}")
    await exchange.end()


def pages_of_versions(workspace: str, versions: Mapping[str, Sequence[Mapping[str, object]]]) -> Script:
    """Pangu's versions of each model, at most two per page, regardless of the `limit` of the request."""
    prefix, suffix = f"/v1/workspaces/{workspace}/models/", "/versions"

    async def script(exchange: Exchange) -> None:
        request = exchange.request
        model = request.path.removeprefix(prefix).removesuffix(suffix)
        if model not in versions:
            error = {"error_code": "PANGU.3254", "error_msg": "Model not found.", "solution_msg": "Check the id."}
            await replies(error, 404)(exchange)
            return
        offset = int(request.query.get("offset", "0"))
        page = versions[model][offset : offset + min(2, int(request.query.get("limit", "10")))]
        await replies({"total": len(versions[model]), "versions": page})(exchange)

    return script


def version(version_id: str, name: str) -> dict[str, object]:
    """A Pangu version with all documented fields."""
    return {
        "id": version_id,
        "name": name,
        "cap_white_list": ["cap"],
        "description": f"{name} 的说明",
        "config": {"llm_model_config": {"base_model_type": "N2-base", "model_path": f"obs://bucket/{version_id}"}},
        "create_time": "2024-12-20T08:00:00+08:00",
        "create_user": {"domain_name": "account", "domain_id": "d-1", "user_name": "person", "user_id": "u-1"},
    }
