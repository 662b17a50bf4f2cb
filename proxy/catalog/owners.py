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

import fnmatch
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Literal, NamedTuple

from proxy.catalog.makers import (
    CHANNELS,
    CLOUDS,
    COMMON_WORDS,
    FAMILIES,
    HOSTS,
    OPEN,
    PLACEHOLDER_OWNERS,
    PLACES,
    SPELLINGS,
    TUNERS,
    WORDS,
)

_REGIONS = frozenset({"in", "us", "us-gov", "eu", "apac", "ap", "jp", "au", "ca", "sa", "global"})
"""Region prefixes of Bedrock and Azure, as in `us.anthropic.claude-...` and `eu/gpt-4o`."""
_MAX_CACHED = 100_000
_MAX_NAME = 64
_FINE_TUNE = "ft:"  # OpenAI and Mistral
_FOREIGN_PREFIX = re.compile(
    r"(ft:|hf:|@"  # fine-tunes; Hugging Face; Cloudflare
    r"|\s*[\[(【（][^\])】）]*[\])】）]\s*)"  # resellers: `[aws] claude-...`
)
_VENDOR = re.compile(r"(?![a-z]{2}(-[a-z]+)+-\d$)\w[\w.-]*")  # excludes us-east-1, drive letters and ARNs
_ENDING = re.compile(r"[-_ #]*\d+$|\.(com|cn|ai|io|dev)$")  # "azure-2", of several channels of one type; "openai.com"
_NOT_A_NAME = re.compile(
    r"(org|organization|user|usr|proj|project|acct|account|workspace|channel)[-_]?\w*\d\w*|(org|user)-\w+"  # accounts
    r"|\d+|[0-9a-f]{8}-[0-9a-f-]{20,}|[0-9a-f]{24,}"  # numbers of channels, random ids
    r"|.*:\d+|([\w-]+\.){2,}[a-z]{2,}"  # addresses
    r"|.*(proxy|gateway|router|relay|2api)|.*[-_](api|cli|channel|hub|provider|server)"  # gateways
)
_COMPANY = re.compile(r"(,|\s)\s*(inc|llc|ltd|corp|corporation|pbc|gmbh|sas|co)\.?\s*$", re.IGNORECASE)
_REMARK = re.compile(r"\s*[(（][^)）]*[)）]\s*$")  # "Anthropic (via Vertex)"
_SEPARATORS = str.maketrans("", "", "-_./")


def _key(name: str) -> str:
    """A name without regard to case, spaces and separators, for comparisons."""
    return "".join(name.split()).lower().translate(_SEPARATORS)


_MAKERS = ({maker for maker, _ in FAMILIES} | set(SPELLINGS.values())) - {""}
_CANONICAL = {_key(maker): maker for maker in _MAKERS} | {_key(name): maker for name, maker in SPELLINGS.items()}
_HOSTS = frozenset(map(_key, HOSTS))
_PLACEHOLDERS = frozenset(map(_key, PLACEHOLDER_OWNERS))


_LETTERS = 3
"""Patterns are grouped by their first letters: most names have no match, and a set shows it without an expression."""


def _beginning(pattern: str) -> str:
    """The letters before the first wildcard of a pattern, at most `_LETTERS`."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0][:_LETTERS]


_BEGINNINGS = frozenset(_beginning(pattern) for _, patterns in FAMILIES for pattern in patterns) - {""}
_WITHIN = re.compile(
    "|".join(
        sorted(
            {re.escape(max(pattern.split("*"), key=len)) for _, row in FAMILIES for pattern in row if pattern[0] == "*"}
        )
    )
)
"""Matches in names for which patterns that begin with `*` must be tried."""


@cache
def _families(first: str, within: bool) -> tuple[re.Pattern[str], list[str]]:
    """One expression with a group for each pattern that names with these first letters can match, and the makers.

    `within` adds the patterns that begin with `*`. Compiled at first use, because compiling all takes 60 ms.
    """
    rows = [
        (maker, pattern)
        for maker, patterns in FAMILIES
        for pattern in patterns
        if (within if pattern[0] == "*" else first.startswith(_beginning(pattern)))
    ]
    return re.compile("|".join(f"({fnmatch.translate(pattern)})" for _, pattern in rows)), [maker for maker, _ in rows]


@cache
def _words(maker: str) -> frozenset[str]:
    """The words that are accepted in the name of an original of this maker."""
    patterns = next(patterns for each, patterns in FAMILIES if each == maker)
    return WORDS.union(_words_of(" ".join((*patterns, *OPEN))))


def _words_of(name: str) -> list[str]:
    return re.findall("[a-z]{3,}", name)


def canonical(name: str) -> str:
    """A maker's name in lower case, with `-` for spaces and slashes, in one spelling for each known maker."""
    plain = "-".join(name.replace("/", " ").split()).lower()
    return _CANONICAL.get(_key(plain), plain)


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
    return "" if owner == own_id else _maker_from_text(owner)


def owner_from_id(own_id: str) -> str:
    """The maker according to the vendor part and the model family in an id, "" if unknown."""
    return _maker_in_id(own_id)[0]


def _maker_in_id(own_id: str) -> tuple[str, Literal["vendor", "family", ""]]:
    """The maker according to an id, and which part of it names the maker."""
    vendor, name = _split(own_id)
    if vendor in _MAKERS and vendor not in CLOUDS:
        return vendor, "vendor"
    family, name = _family(name)
    if not vendor or not family or vendor in CLOUDS:
        return (family, "family") if family else (vendor, "vendor" if vendor else "")
    return (family, "family") if name not in COMMON_WORDS and _is_original(family, name) else (vendor, "vendor")


@lru_cache(maxsize=10_000)
def _maker_from_text(owner: str) -> str:
    if "://" in owner or not owner.replace("\t", " ").isprintable():
        return ""
    text = owner.partition(" / ")[0]  # "DeepSeek / Meta"
    if _is_known(text) or "/" not in text:
        return _name_from_text(text)
    # "openrouter/anthropic"
    return next((maker for maker in map(_name_from_text, text.split("/")) if maker in _MAKERS), _name_from_text(text))


def _is_known(text: str) -> bool:
    key = _key(text)
    return key in _CANONICAL or key in _HOSTS or key in _PLACEHOLDERS


def _name_from_text(text: str) -> str:
    if not _is_known(text):
        text = _COMPANY.sub("", _REMARK.sub("", text)) or text
    if not _is_known(text) and _is_known(shorter := _ENDING.sub("", text)):
        text = shorter
    key, name = _key(text), canonical(text)
    if key in _HOSTS or key in _PLACEHOLDERS:
        return ""
    if name in _MAKERS:
        return name
    is_filler = (
        key.startswith(CHANNELS) or "@" in name or len(name) > _MAX_NAME or _NOT_A_NAME.fullmatch(name) is not None
    )
    return "" if is_filler else name


def _entry_wins(by_entry: str, by_id: str, own_id: str) -> bool:
    """Whether the reported owner is the owner although the id names another one."""
    is_maker = by_entry in _MAKERS
    vendor, name = _split(own_id)
    family, name = _family(name)
    if by_id not in _MAKERS:  # an unknown vendor
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
    return not name.startswith(OPEN) or all(word in _words(family) or word in _HOSTS for word in _words_of(name))


def _split(own_id: str) -> tuple[str, str]:
    """The canonical vendor part of an id, "" if it has none, and the last part in lower case."""
    name = own_id.lower()
    if not name[:3].isalnum() and (prefix := _FOREIGN_PREFIX.match(name)):
        name = name[prefix.end() :]
    vendor = ""
    if "/" in name:
        before, _, name = name.rpartition("/")
        vendor = _vendor_of(before)
    if "." in name and vendor not in _MAKERS and (dotted := _dotted_vendor(name)):
        return dotted
    return vendor, name


@lru_cache(maxsize=10_000)
def _vendor_of(before: str) -> str:
    """The vendor among the parts of an id before the last one, "" if there is none."""
    vendors = [canonical(part) for part in before.split("/") if _key(part) not in _HOSTS]
    if len(vendors) > 1 and vendors[0] in CLOUDS and _is_vendor(vendors[1]):
        del vendors[0]  # `openai/anthropic/claude-...`
    known = next((vendor for vendor in vendors if vendor in _MAKERS), "")
    return known or (vendors[0] if vendors and _is_vendor(vendors[0]) else "")


def _is_vendor(name: str) -> bool:
    if _key(name) in _PLACEHOLDERS or name in PLACES or name in _REGIONS:
        return False
    return _VENDOR.fullmatch(name) is not None and len(name) <= _MAX_NAME


def _dotted_vendor(name: str) -> tuple[str, str] | None:
    """The vendor and the name in Bedrock's `meta.llama3-8b-instruct-v1:0`, with or without a region before it."""
    vendor, dot, rest = name.partition(".")
    if vendor in _REGIONS:
        vendor, dot, rest = rest.partition(".")
    return (maker, rest) if dot and (maker := canonical(vendor)) in _MAKERS else None


def _family(name: str) -> tuple[str, str]:
    """The maker of a family, "" if unknown, and the name that matched."""
    for candidate in _candidates(name):
        if maker := _maker(candidate):
            return maker, candidate
    return "", ""


def _candidates(name: str) -> Iterator[str]:
    """The name, then the name without what hosts add to it."""
    plain, tag = name, ""
    if ":" in name or "@" in name:  # the tag of `phi3:14b` and `gemini-pro@001`
        plain, tag = re.split("[:@]", name, maxsplit=1)
    yield plain
    if tag and _is_known(plain):
        yield tag  # `openai:gpt-4o`
    if plain.startswith("text-embedding-"):
        yield plain.removeprefix("text-embedding-")  # LM Studio
    head, _, rest = plain.partition("-")
    if rest and (head in _HOSTS or head in _PLACEHOLDERS or head in _MAKERS):
        yield rest  # `databricks-claude-...`, `azure-gpt-4o`, `internal-gpt-4o`, `xai-grok-4`
    second, _, third = rest.partition("-")
    if third and head + second in _HOSTS:
        yield third  # `vertex-ai-claude-...`
    if "--" in plain:
        yield plain.partition("--")[2]  # SAP's `anthropic--claude-...`
    if "_" in plain or " " in plain:
        yield from _candidates("-".join(re.split("[ _]+", plain)))


def _maker(name: str) -> str:
    first = name[:_LETTERS]
    within = _WITHIN.search(name) is not None
    if not within and _BEGINNINGS.isdisjoint((first, first[:2], first[:1])):
        return ""
    expression, makers = _families(first, within)
    family = expression.match(name)
    return makers[family.lastindex - 1] if family and family.lastindex else ""
