"""Determine the owner of a model from the owner that the provider reports and from the model id.

The id has up to two parts that name a maker: a vendor part (`meta-llama/...`, `meta.llama3-...`, `openrouter/...` is a
host and is skipped) and the family (`claude-*`, `qwen*` ...). They are combined first:

| Vendor part | Family | Maker according to the id |
|---|---|---|
| none | any | the family's maker |
| a maker that also hosts others (`CLOUDS`) | any | the family's maker |
| another known maker | any | the vendor |
| unknown | the name is that of an original | the family's maker |
| unknown | none, or the name is that of a derivative or a common word | the vendor |

A derivative is a name that begins like that of an open family (`OPEN`) and has words that its maker does not use. Then
the result is compared with the owner that the provider reports:

| Maker according to the id | Reported | Owner |
|---|---|---|
| any | none, a placeholder, a host, a gateway, an account | according to the id |
| none | a name | as reported |
| a known maker | another name | according to the id, except in the next three rows |
| a family's maker; the name is that of a derivative or a common word | an unknown name | as reported |
| a family's maker; the name is that of a derivative | a maker of derivatives (`TUNERS`) | as reported |
| a family's maker, of a fine-tune (`ft:`) | an unknown name | as reported |
| an unknown vendor | an unknown name, or the family's maker | as reported |
| an unknown vendor | a known maker that contradicts the family, or one of `CLOUDS` | the vendor |
| an unknown vendor, and there is no family | another known maker | as reported |
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from proxy.catalog.families import OPEN
from proxy.catalog.family_lookup import family_of, words_of, words_of_maker
from proxy.catalog.hosts import PLACES
from proxy.catalog.maker_names import HOST_KEYS, MAKERS, MAX_NAME, PLACEHOLDER_KEYS, canonical, key_of, maker_from_text
from proxy.catalog.makers import CLOUDS, COMMON_WORDS, TUNERS

_REGIONS = frozenset({"in", "us", "us-gov", "eu", "apac", "ap", "jp", "au", "ca", "sa", "global"})
"""Region prefixes of Bedrock and Azure, as in `us.anthropic.claude-...` and `eu/gpt-4o`."""
_MAX_CACHED = 100_000
_FINE_TUNE = "ft:"  # OpenAI and Mistral
_FOREIGN_PREFIX = re.compile(
    r"(ft:|hf:|@"  # fine-tunes; Hugging Face; Cloudflare
    r"|\s*[\[(【（][^\])】）]*[\])】）]\s*)"  # resellers: `[aws] claude-...`
)
_VENDOR = re.compile(r"(?![a-z]{2}(-[a-z]+)+-\d$)\w[\w.-]*")  # excludes us-east-1, drive letters and ARNs
_cache: dict[str, tuple[str, str]] = {}
"""Id -> the reported owner and the owner. Pairs are shared: that takes a third of the memory of a cache by both."""


def owner_of_model(reported: str, own_id: str) -> str:
    """The owner of a model, "" if neither the reported owner nor the id names one. See the tables above.

    Cached, because each change of a list needs the owners of all its models.
    """
    cached = _cache.get(own_id)
    if cached is not None and cached[0] == reported:
        return cached[1]
    if len(_cache) >= _MAX_CACHED:
        _cache.clear()
    owner = _owner_of_model(reported, own_id)
    _cache[own_id] = _shared_pair(reported, owner)
    return owner


@lru_cache(maxsize=1_000)
def _shared_pair(reported: str, owner: str) -> tuple[str, str]:
    return reported, owner


def _owner_of_model(reported: str, own_id: str) -> str:
    by_entry = owner_from_entry(reported, own_id)
    by_id, _ = _maker_in_id(own_id)
    if not by_entry or not by_id or by_entry == by_id:
        return by_entry or by_id
    return by_entry if _entry_wins(by_entry, by_id, own_id) else by_id


class OwnerSigns(NamedTuple):
    """What `owner_of_model` compares."""

    by_entry: str
    """The maker according to the provider, "" if what it reports is no maker."""
    by_id: str
    """The maker according to the id, "" if unknown."""
    id_part: Literal["vendor", "family", ""]
    """Which part of the id names `by_id`."""


def owner_signs(reported: str, own_id: str) -> OwnerSigns:
    """What `owner_of_model` compares, for explanations."""
    return OwnerSigns(owner_from_entry(reported, own_id), *_maker_in_id(own_id))


def owner_from_entry(owner: str, own_id: str) -> str:
    """The maker according to the provider's owner field, "" if there is none.

    Placeholders, hosts, gateways, addresses, accounts and the model's own id are not makers.
    """
    return "" if owner == own_id else maker_from_text(owner)


def owner_from_id(own_id: str) -> str:
    """The maker according to the vendor part and the model family in an id, "" if unknown."""
    return _maker_in_id(own_id)[0]


def _maker_in_id(own_id: str) -> tuple[str, Literal["vendor", "family", ""]]:
    """The maker according to an id, and which part of it names the maker."""
    vendor, name = _split(own_id)
    if vendor in MAKERS and vendor not in CLOUDS:
        return vendor, "vendor"
    family, name = family_of(name)
    if not vendor or not family or vendor in CLOUDS:
        return (family, "family") if family else (vendor, "vendor" if vendor else "")
    return (family, "family") if name not in COMMON_WORDS and _is_original(family, name) else (vendor, "vendor")


def _entry_wins(by_entry: str, by_id: str, own_id: str) -> bool:
    """Whether the reported owner is the owner although the id names another one."""
    is_maker = by_entry in MAKERS
    vendor, name = _split(own_id)
    family, name = family_of(name)
    if by_id not in MAKERS:  # an unknown vendor
        return not is_maker or by_entry == family or not (family or by_entry in CLOUDS)
    if own_id.startswith(_FINE_TUNE):
        return not is_maker
    if vendor == by_id:
        return False
    if is_maker:
        return by_entry in TUNERS and not _is_original(family, name)
    return name in COMMON_WORDS or not _is_original(family, name)


def _is_original(family: str, name: str) -> bool:
    """Whether a name is that of a model of the family's maker, and not of a derivative."""
    return not name.startswith(OPEN) or all(
        word in words_of_maker(family) or word in HOST_KEYS for word in words_of(name)
    )


def _split(own_id: str) -> tuple[str, str]:
    """The canonical vendor part of an id, "" if it has none, and the last part in lower case."""
    name = own_id.lower()
    if not name[:3].isalnum() and (prefix := _FOREIGN_PREFIX.match(name)):
        name = name[prefix.end() :]
    vendor = ""
    if "/" in name:
        before, _, name = name.rpartition("/")
        vendor = _vendor_of(before)
    if "." in name and vendor not in MAKERS and (dotted := _dotted_vendor(name)):
        return dotted
    return vendor, name


@lru_cache(maxsize=10_000)
def _vendor_of(before: str) -> str:
    """The vendor among the parts of an id before the last one, "" if there is none."""
    vendors = [canonical(part) for part in before.split("/") if key_of(part) not in HOST_KEYS]
    if len(vendors) > 1 and vendors[0] in CLOUDS and _is_vendor(vendors[1]):
        del vendors[0]  # `openai/anthropic/claude-...`
    known = next((vendor for vendor in vendors if vendor in MAKERS), "")
    return known or (vendors[0] if vendors and _is_vendor(vendors[0]) else "")


def _is_vendor(name: str) -> bool:
    if key_of(name) in PLACEHOLDER_KEYS or name in PLACES or name in _REGIONS:
        return False
    return _VENDOR.fullmatch(name) is not None and len(name) <= MAX_NAME


def _dotted_vendor(name: str) -> tuple[str, str] | None:
    """The vendor and the name in Bedrock's `meta.llama3-8b-instruct-v1:0`, with or without a region before it."""
    vendor, dot, rest = name.partition(".")
    if vendor in _REGIONS:
        vendor, dot, rest = rest.partition(".")
    return (maker, rest) if dot and (maker := canonical(vendor)) in MAKERS else None
