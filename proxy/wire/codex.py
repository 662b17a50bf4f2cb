"""The model catalog of Codex, `{"data": [{"slug", ...}], "models": [{"slug", "context_window", ...}]}`.

Codex requests it at the path of OpenAI's list, with its version in the query, and reads `models`. One missing field, or
one unknown word in a field, makes it ignore the whole catalog. An entry replaces the built-in data of Codex about a
model. So `models` does not contain OpenAI's models for Codex: Codex has instructions and tools for these that no
provider reports.
`data` has all models. Errors are OpenAI's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from proxy.catalog import Model
from proxy.cooperative import Cooperative
from proxy.wire.encoder import encode
from proxy.wire.facts import facts_of, fields_of
from proxy.wire.format import Format
from proxy.wire.lists import ListFormat, Page, encoded_entries
from proxy.wire.openai import openai_error

INSTRUCTIONS = (
    "You are a coding agent that runs in the Codex CLI, in a terminal on the user's computer. Use the tools to "
    "read, search and change the files of the current directory and to run commands. Follow the instructions in "
    "AGENTS.md files. Read the relevant code before you change it. Keep changes small and in the style of the "
    "code around them, fix causes instead of symptoms, and do not change unrelated code. Run the tests that cover "
    "your change, if there are any. Do not commit, and do not delete the user's work, unless the user requests "
    "it. Continue until the task is complete, then report briefly what you changed and what you could not verify."
)
"""Codex sends them to the model instead of its own instructions: if they were empty, the model would get none."""
_CONTAINED = re.compile(r"gpt-(?:[5-9]|\d\d)|codex")
"""The beginnings of ids of models of which Codex contains facts."""
_CONVERSES = ("", "chat", "completion")
_INPUTS = ("text", "image")
"""Codex has no names for others."""
_CONSTANT: dict[str, Any] = {
    # What no provider reports has the value that Codex uses for models that are in no catalog.
    "default_reasoning_level": None,
    "supported_reasoning_levels": [],
    "shell_type": "shell_command",
    "supported_in_api": True,
    "priority": 99,
    "upgrade": None,
    "availability_nux": None,
    "base_instructions": INSTRUCTIONS,
    "support_verbosity": False,
    "default_verbosity": None,
    "apply_patch_tool_type": None,
    "truncation_policy": {"mode": "bytes", "limit": 10_000},
    "supports_parallel_tool_calls": False,
    "experimental_supported_tools": [],
}


def list_page(query: None, listed: Listed) -> Page:
    """Return the whole list, with the catalog behind it."""
    return Page(range(listed.total), b'{"object":"list","data":[', b'],"models":[%b]}' % listed.catalog)


class Listed(NamedTuple):
    """The content of one list."""

    total: int
    catalog: bytes
    """The entries of those models that Codex does not contain, joined with commas."""
    digest: str
    """The digest of the catalog."""

    @property
    def size(self) -> int:
        return len(self.catalog)


def prepared(models: Sequence[Model]) -> Cooperative[Listed]:
    """Encode the catalog, in steps."""
    unknown = [model for model in models if not is_contained(model)]
    encoded = yield from encoded_entries(unknown, catalog_entry)
    return Listed(len(models), encoded.text, encoded.digest)


def is_contained(model: Model) -> bool:
    """Whether Codex contains facts about a model: it looks them up by the last part of an id."""
    return model.owned_by == "openai" and _CONTAINED.match(model.id.rpartition("/")[2]) is not None


def listed_model(model: Model) -> bytes:
    """Return a model in `data`."""
    name = fields_of(model).display_name or model.id
    return encode({"id": model.id, "object": "model", "slug": model.id, "display_name": name})


def catalog_entry(model: Model) -> bytes:
    """Return a model as Codex reads it. Models of other types than chat are not in its picker."""
    facts, fields = facts_of(model), fields_of(model)
    entry = {
        "slug": model.id,
        "display_name": fields.display_name or model.id,
        "description": fields.description or None,
        "visibility": "list" if facts.type in _CONVERSES else "hide",
        "supports_reasoning_summaries": "reasoning" in facts.capabilities,
        "input_modalities": ["text"] if facts.inputs is None else [each for each in _INPUTS if each in facts.inputs],
        **_CONSTANT,
    }
    if facts.context:
        entry["context_window"] = facts.context
    return encode(entry)


FORMAT = Format(
    "codex",
    recognizes=lambda path: False,
    error=openai_error,
    list_parameter=b"client_version",
    lists=ListFormat(listed_model, list_page, prepare=prepared, api="openai"),
)
