"""The kinds of providers that are known, one row each. Facts: the providers' own documents."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.dialects.dialect import Auth, Dialect, Paging, Setting

OPENAI = Dialect(
    kind="openai",
    base_path="/v1",
    # An array of its own (Together, GitHub), `data` (nearly everybody), `models` only where there is no `data`:
    # llama.cpp sends both, with the same models in other words.
    items=("", "data", "models"),
    # `model_id`: AiHubMix's catalogue; `name`: Together's old list and everything that looks like Ollama.
    id=("id", "model_id", "name"),
    owner=("owned_by", "publisher", "organization", "author"),
    created=("created", "created_at"),
    paging=(
        Paging("url", read="links.next"),
        Paging("cursor", read="last_id", send="after", more="has_more"),
    ),
)

# Huawei Pangu, "query the list of a model's versions": every version is a model that can be named.
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
    rename={"name": "display_name"},
    # Account, user and bucket of whoever pays for the model.
    private=("create_user", "config.llm_model_config.model_path"),
    paging=(Paging("offset", send="offset", total="total"),),
    iam=True,
    native=True,
)

STATIC = Dialect(kind="static", asked=False, auth=Auth("none"), created=OPENAI.created, owner=OPENAI.owner, items=("",))

DIALECTS: Mapping[str, Dialect] = {row.kind: row for row in (OPENAI, PANGU, STATIC)}
