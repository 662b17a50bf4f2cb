"""The explanation of a model, as text: every decision with its reason, its file and its line."""

from __future__ import annotations

from tests.explain.explaining import explained, text_of
from tests.fakes import digest

ALICE, BOB = digest("alice"), digest("bob")


def test_a_merged_model_is_explained_from_the_lists_to_its_calls() -> None:
    text = f"""
merge: {{fill: true}}
providers:
  - name: openai
    base_url: https://openai.example/v1
    include: ["gpt-*"]
    overrides: [{{match: "gpt-4*", context_length: 128000}}]
  - name: azure
    base_url: https://azure.example/v1
    aliases:
      gpt-4o: eastus-gpt-4o
groups:
  staff:
    models:
      - "gpt-*"
      - "!*-preview"
keys: [{{name: alice, hash: "{ALICE}", group: staff}}]
"""
    listed = {
        "openai": [{"id": "gpt-4o", "owned_by": "system", "created": 1715367049}],
        "azure": [{"id": "eastus-gpt-4o", "created": 1715367000, "max_model_len": 1, "max_completion_tokens": 4096}],
    }

    assert (
        text_of(explained(text, listed, "gpt-4o", "alice"))
        == """\
'gpt-4o' is listed for key alice. Calls go to openai; if it fails, to azure.

Providers
  openai (ok) has it
    listed as 'gpt-4o': public id 'gpt-4o'
      selected by include 'gpt-*' (config.yaml:6)
      overrides for gpt-4* set context_length (config.yaml:7)
      owner openai: the model family of the id 'gpt-4o'; the provider reports 'system', which is not the name of a maker
  azure (ok) has it
    listed as 'eastus-gpt-4o': public id 'gpt-4o'
      owner azure: the name of the provider: it reports no owner, and the id 'eastus-gpt-4o' names no known one
      listed as 'gpt-4o': alias 'gpt-4o' of 'eastus-gpt-4o' (config.yaml:11)

Access of key alice (rules of group staff)
  'gpt-*' allows it at openai, azure (config.yaml:15)
  '!*-preview' does not match (config.yaml:16)

Offers, in the order of the file; the first that is allowed gives the fields
  openai as 'gpt-4o': allowed, owner openai, created 2024-05-10; rule 'gpt-*' of group staff allows it (config.yaml:15)
  azure as 'eastus-gpt-4o': allowed, owner azure, created 2024-05-10; rule 'gpt-*' of group staff allows it \
(config.yaml:15)

Fields
  owned_by openai: the model family of the id 'gpt-4o'; the provider reports 'system', which is not the name of a maker
  created 2024-05-10: from azure, the earliest time of 2 offers; the provider's field created or another one of the \
same meaning
  context_length 128000: set by overrides for gpt-4* (config.yaml:7)
  max_output_tokens 4096: from azure, because openai reports none (config.yaml:2); the provider's field \
max_completion_tokens

Calls
  strategy order: in the order of the file
  1. openai as 'gpt-4o'
  2. azure as 'eastus-gpt-4o'
"""
    )


USERS = """
providers: [{name: openai, base_url: "https://openai.example/v1"}]
groups:
  guests: {models: ["gpt-*"], call: false}
auth: {jwt: [{issuer: "https://login.example", audience: x, groups: {g: guests}}]}
"""


def test_the_access_of_a_group_is_explained() -> None:
    text = text_of(explained(USERS, {"openai": ["gpt-4o", "o1"]}, "gpt-4o", "group:guests"))

    assert text.startswith(
        "'gpt-4o' is listed for members of group guests. This caller cannot call it. Group guests has call: false: its"
    )
    assert (
        "Access of members of group guests (rules of group guests)\n  group guests has call: false: its members" in text
    )
    assert text_of(explained(USERS, {"openai": ["gpt-4o", "o1"]}, "o1", "group:guests")).startswith(
        "'o1' exists, but is not available for members of group guests"
    )
