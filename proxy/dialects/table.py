"""All known kinds of providers, one row each. Source: the providers' documentation."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.dialects.clouds import AZURE, BEDROCK, CLOUDFLARE, DASHSCOPE, PANGU, VERTEX
from proxy.dialects.dialect import Auth, Dialect, Paging, Setting

_OTHER_TIMES = (
    "createTime", "created_time", "createdTime", "creation_time", "creationTime", "creation_date", "creationDate",
    "created_on", "createdOn", "created_date", "createdDate", "creationTimestamp",
    "release_date", "releaseDate", "released_at", "releasedAt", "published_at", "publishedAt", "published_time",
)  # fmt: skip
"""Further names of the time of creation; of the last ones, that of the release."""

OPENAI = Dialect(
    kind="openai",
    base_path="/v1",
    call="{base}",
    # A top-level array (Together), `data` (nearly all providers), or `models` if there is no `data`: llama.cpp sends
    # the same models in both.
    items=("", "data", "models"),
    or_items=(
        "results",
        "items",
        "list",
        "result",
        "data.models",
        "data.list",
        "data.items",
        "data.results",
        "data.data",
        "data.records",
        "result.models",
        "result.data",
        "result.list",
        "result.items",
        "response.models",
        "response.data",
        "records",
        "value",
        "content",
        "model_list",
        "available_models",
    ),
    # `model_id`: AiHubMix's catalog; `name`: Together's old list and Ollama-compatible servers.
    id=("id", "model_id", "name"),
    resource_names=True,  # Google's OpenAI endpoint lists `models/m`
    owner=(
        *("owned_by", "ownedBy", "publisher", "organization", "author", "vendor", "vendor.name", "organization.name"),
        *("creator", "creator.name", "developer", "company", "maker", "owner", "owner.name"),
    ),
    # Vercel's `created` is the same for all models.
    created=("released", "created", "created_at", "createdAt", "create_time", *_OTHER_TIMES),
    # `facts` contains the names of limits, capabilities and modalities.
    extra={
        "display_name": ("display_name", "displayName", "friendly_name", "title"),  # `title`: Novita and PPIO
        "type": ("type", "types"),
        "deprecated": ("deprecated", "is_deprecated", "isDeprecated"),
        "deprecated_at": ("deprecation", "deprecation_date", "deprecated_at"),  # Mistral; LiteLLM
        "shutdown_at": (
            *("shutdown_date", "deprecation.inference", "expiration_date"),  # OpenAI; Azure; OpenRouter
            *("shutdown_at", "retirement_date", "retired_at", "retires_at", "sunset_date", "end_of_life_date"),
        ),
        "released_at": ("released",),
    },
    keeps_originals=True,
    private=("created_at", "createdAt", "create_time"),  # duplicate `created`, and may be the time of the request
    paging=(
        Paging("url", read="links.next"),
        Paging("cursor", read="last_id", send="after", more="has_more", or_send="after_id"),
    ),
)


ANTHROPIC = Dialect(
    kind="anthropic",
    base_path="/v1",
    call="{base}",
    params={"limit": "1000"},
    headers={"anthropic-version": "{version}"},
    settings={"version": Setting("2023-06-01")},
    auth=Auth("header", "x-api-key"),
    owner=(),
    created=("created_at",),
    extra={"context_length": ("max_input_tokens",), "max_output_tokens": ("max_tokens",)},
    private=("type", "created_at"),  # always "model"; duplicates `created`
    paging=(Paging("cursor", read="last_id", send="after_id", more="has_more"),),
)

GEMINI = Dialect(
    kind="gemini",
    base_path="/v1beta",
    params={"pageSize": "1000"},
    auth=Auth("header", "x-goog-api-key"),
    call="{base}/openai",
    native_api="gemini",
    gemini_call="{base}",
    call_auth=Auth(),  # its OpenAI-compatible API requires a bearer token
    items=("models",),
    empty_without_items=True,
    id=("name",),
    strip_prefix=("models/",),
    owner=(),
    created=(),
    extra={
        "display_name": ("displayName",),
        "context_length": ("inputTokenLimit",),
        "max_output_tokens": ("outputTokenLimit",),
    },
    paging=(Paging("cursor", read="nextPageToken", send="pageToken"),),
)


COHERE = Dialect(
    kind="cohere",
    base_path="/v1",
    params={"page_size": "1000"},
    call="{host}/compatibility/v1",
    call_root="{host}",
    items=("models",),
    id=("name",),
    owner=(),
    created=(),
    extra={"deprecated": ("is_deprecated",), "context_length": ("context_length",)},
    paging=(Paging("cursor", read="next_page_token", send="page_token"),),
)

OLLAMA = Dialect(
    kind="ollama",
    path="/api/tags",
    call="{base}/v1",
    native_api="ollama",
    items=("models",),
    id=("model", "name"),
    owner=(),
    created=("modified_at",),  # as at its own OpenAI endpoint: the time of the download
    extra={"updated_at": ("modified_at",)},
)

LMSTUDIO = Dialect(
    kind="lmstudio",
    path="/api/v1/models",
    call="{base}/v1",
    or_path="/api/v0/models",
    items=("models", "data"),
    id=("key", "id"),
    owner=("publisher",),
    created=(),
    # `facts` reads the context: that of loaded instances, else the maximum.
    extra={"type": ("type",), "display_name": ("display_name",)},
)


FIREWORKS = Dialect(
    kind="fireworks",
    base_path="/v1",
    path="/accounts/{account_id}/models",
    params={"pageSize": "200"},
    settings={"account_id": Setting("fireworks")},
    call="{host}/inference/v1",
    items=("models",),
    empty_without_items=True,
    id=("name",),
    owner=(),
    created=("createTime",),
    extra={"display_name": ("displayName",), "context_length": ("contextLength",)},
    private=("createTime",),  # duplicates `created`
    paging=(Paging("cursor", read="nextPageToken", send="pageToken"),),
)

GITHUB = Dialect(
    kind="github",
    path="/catalog/models",
    call="{base}/inference",
    headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
    items=("",),
    owner=("publisher",),
    created=(),
    extra={
        "display_name": ("name",),
        "description": ("summary",),
        "context_length": ("limits.max_input_tokens",),
        "max_output_tokens": ("limits.max_output_tokens",),
        "input_modalities": ("supported_input_modalities",),
        "output_modalities": ("supported_output_modalities",),
    },
)

REPLICATE = Dialect(
    kind="replicate",
    base_path="/v1",
    items=("results",),
    id=("owner/name",),
    owner=("owner",),
    created=(),  # `latest_version.created_at` refers to the version
    private=(
        "latest_version.openapi_schema",
        "default_example",
    ),  # tens of kilobytes per model, for thousands of models
    paging=(Paging("url", read="next"),),
)


GPUSTACK = Dialect(
    kind="gpustack",
    base_path="/v1",
    params={"page": "1", "perPage": "100"},
    call="{host}/v1",
    items=("items",),
    id=("name",),  # its `id` is a number
    owner=(),
    created=("created_at",),
    extra={"updated_at": ("updated_at",)},
    private=("created_at",),  # duplicates `created`
    paging=(Paging("page", send="page", total="pagination.total", pages="pagination.totalPage"),),
)


STATIC = Dialect(
    kind="static",
    is_remote=False,
    auth=Auth("none"),
    created=OPENAI.created,
    owner=OPENAI.owner,
    items=("",),
    facts=False,  # the operator uses the standard names
)

CUSTOM = Dialect(kind="custom", facts=False)
"""The operator defines this row in the setting `list`."""

DIALECTS: Mapping[str, Dialect] = {
    row.kind: row
    for row in (
        OPENAI, ANTHROPIC, GEMINI, VERTEX, COHERE, OLLAMA, LMSTUDIO, AZURE, FIREWORKS, GITHUB, REPLICATE, CLOUDFLARE,
        DASHSCOPE, GPUSTACK, BEDROCK, PANGU, STATIC, CUSTOM,
    )
}  # fmt: skip
