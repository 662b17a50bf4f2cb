"""Rows of clouds, whose models are deployed in an account."""

from __future__ import annotations

from dataclasses import replace

from proxy.dialects.dialect import Auth, Dialect, Paging, Setting

# Huawei Pangu, API "query the list of a model's versions": each version is a model.
PANGU = Dialect(
    kind="pangu",
    base_path="/v1",
    path="/workspaces/{workspace_id}/models/{model_id}/versions",
    params={"limit": "100"},
    settings={"workspace_id": Setting(), "model_ids": Setting(many=True)},
    auth=Auth("header", "X-Auth-Token"),
    items=("versions",),
    owner=(),
    created=("create_time",),
    parent="model_id",
    extra={"display_name": ("name",)},
    facts=False,  # versions are no models of one API
    # Account, user and bucket of the customer.
    private=("create_user", "config.llm_model_config.model_path"),
    paging=(Paging("offset", send="offset", total="total"),),
    iam=True,
    raw=True,
)
VERTEX = Dialect(
    kind="vertex",
    base_path="/v1beta1",
    path="/publishers/{publisher}/models",
    params={"pageSize": "1000"},
    headers={"x-goog-user-project": "{project}"},
    settings={"publisher": Setting("google"), "project": Setting(optional=True), "location": Setting(optional=True)},
    call="{base}/projects/{project}/locations/{location}/endpoints/openapi",
    call_id="{publisher}/{id}",
    items=("publisherModels",),
    empty_without_items=True,
    id=("name",),
    strip_prefix=("publishers/*/models/",),
    owner=(),
    created=(),
    paging=(Paging("cursor", read="nextPageToken", send="pageToken"),),
)
# Base models, with those that are fine-tuned.
_AZURE_MODELS = Dialect(
    kind="azure",
    path="/openai/models",
    params={"api-version": "{api_version}"},
    settings={"api_version": Setting("2024-10-21"), "deployments": Setting(optional=True, flag=True)},
    auth=Auth("header", "api-key"),
    call="{base}/openai/v1",
    items=("data", "value"),
    owner=(),
    created=("created_at",),
    extra={"shutdown_at": ("deprecation.inference",)},
    private=("created_at",),  # duplicates `created`
    paging=(Paging("url", read="nextLink"),),
)
# Calls accept names of deployments. Later versions of the API list them in Azure Resource Manager only.
_AZURE_DEPLOYMENTS = replace(
    _AZURE_MODELS,
    path="/openai/deployments",
    params={"api-version": "2023-03-15-preview"},
    root="model",
    required={"status": "succeeded"},
    extra={"updated_at": ("updated_at",)},
    private=("created_at", "owner", "scale_settings", "status"),
)
AZURE = replace(_AZURE_MODELS, variants={"deployments": _AZURE_DEPLOYMENTS})
CLOUDFLARE = Dialect(
    kind="cloudflare",
    base_path="/client/v4",
    path="/accounts/{account_id}/ai/models/search",
    params={"per_page": "100", "page": "1"},
    settings={"account_id": Setting()},
    call="{base}/accounts/{account_id}/ai/v1",
    items=("result",),
    id=("name",),  # its `id` is a UUID that cannot be called
    owner=(),
    created=("created_at",),
    extra={"type": ("task.name",)},
    private=("created_at",),  # duplicates `created`
    paging=(Paging("page", send="page", total="result_info.total_count", pages="result_info.total_pages"),),
)
DASHSCOPE = Dialect(
    kind="dashscope",
    base_path="/api/v1",
    params={"page_no": "1", "page_size": "100"},
    call="{host}/compatible-mode/v1",
    items=("output.models",),
    id=("model",),
    owner=("provider",),
    created=("published_time",),
    extra={"display_name": ("name",)},
    private=("published_time",),  # duplicates `created`
    paging=(Paging("page", send="page_no", total="output.total"),),
)
# Inference profiles: calls to most newer models require their ids, which begin with a region (`us.`, `global.`).
_BEDROCK_PROFILES = Dialect(
    kind="bedrock",
    path="/inference-profiles",
    params={"maxResults": "1000"},
    items=("inferenceProfileSummaries",),
    id=("inferenceProfileId",),
    required={"status": "ACTIVE"},
    owner=(),
    created=("createdAt",),
    extra={"display_name": ("inferenceProfileName",), "updated_at": ("updatedAt",)},
    # ARNs contain the account; `type` is no type of models; the others are redundant.
    private=("inferenceProfileArn", "models", "type", "inferenceProfileId", "createdAt", "status"),
    paging=(Paging("cursor", read="nextToken", send="nextToken"),),
)
BEDROCK = Dialect(
    kind="bedrock",
    base_url="https://bedrock.{region}.amazonaws.com",
    path="/foundation-models",
    also=(_BEDROCK_PROFILES,),
    settings={"region": Setting(pattern="[a-z]{2,}(-[a-z0-9]+)+")},
    aws="bedrock",
    items=("modelSummaries",),
    id=("modelId",),
    owner=("providerName",),
    created=(),
    extra={
        "display_name": ("modelName",),
        "input_modalities": ("inputModalities",),
        "output_modalities": ("outputModalities",),
        "deprecated": ("modelLifecycle.status",),
    },
    private=("modelArn", "modelId", "modelLifecycle", "providerName"),
    paging=(Paging("cursor", read="nextToken", send="nextToken"),),
)
