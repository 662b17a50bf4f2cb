"""Determine the owner of a model from the provider's value and from the model id."""

from __future__ import annotations

import fnmatch
import re
from functools import cache, lru_cache

from proxy.catalog.makers import FAMILIES, HOSTS, PLACEHOLDER_OWNERS, PLACES, SPELLINGS

_REGIONS = frozenset({"in", "us", "us-gov", "eu", "apac", "ap", "jp", "au", "ca", "sa", "global"})
"""Region prefixes of Bedrock and Azure, as in `us.anthropic.claude-...` and `eu/gpt-4o`."""
_MAX_NAME = 64
_MAKERS = ({maker for maker, _ in FAMILIES} | set(SPELLINGS.values())) - {""}
_FOREIGN_PREFIX = re.compile(r"^(ft:|hf:|@)")  # fine-tunes of OpenAI and Mistral; Hugging Face; Cloudflare
_VENDOR = re.compile(r"(?![a-z]{2}(-[a-z]+)+-\d$)\w[\w.-]*")  # excludes us-east-1, drive letters and ARNs
_ACCOUNT = re.compile(r"(org|user)-[a-z0-9]{12,}")


@cache
def _families(first: str) -> tuple[re.Pattern[str], list[str]]:
    """One expression with a group for each pattern that names with this first letter can match, and the makers.

    Compiled at first use, because compiling the expressions for all letters takes 60 ms.
    """
    rows = [(maker, pattern) for maker, patterns in FAMILIES for pattern in patterns if pattern[0] in (first, "*")]
    return re.compile("|".join(f"({fnmatch.translate(pattern)})" for _, pattern in rows)), [maker for maker, _ in rows]


# Splitting patterns by first letter makes names without a match five times as fast.
_FIRSTS = frozenset(pattern[0] for _, patterns in FAMILIES for pattern in patterns)


def canonical(name: str) -> str:
    """A maker's name in lower case, with `-` for spaces and slashes, in one spelling for each known maker."""
    plain = "-".join(name.replace("/", " ").split()).lower()
    return SPELLINGS.get(plain, plain)


def owner_from_entry(owner: str, own_id: str) -> str:
    """The maker according to the provider's owner field, "" if there is none.

    Placeholders, hosts, e-mail addresses, user accounts and the model's own id are not makers.
    """
    return "" if owner == own_id else _maker_from_text(owner)


@lru_cache(maxsize=10_000)
def _maker_from_text(owner: str) -> str:
    name = canonical(owner.partition(" / ")[0])  # "DeepSeek / Meta"
    is_filler = (
        name in PLACEHOLDER_OWNERS
        or name in HOSTS
        or "@" in name
        or _ACCOUNT.fullmatch(name)
        or not name.isprintable()
        or len(name) > _MAX_NAME
    )
    return "" if is_filler else name


@lru_cache(maxsize=100_000)
def owner_from_id(own_id: str) -> str:
    """The maker according to the vendor part or the model family in an id, "" if unknown."""
    *parts, name = _FOREIGN_PREFIX.sub("", own_id.lower()).split("/")
    vendors = [canonical(part) for part in parts if part not in HOSTS]
    known = next((vendor for vendor in vendors if vendor in _MAKERS), "")
    return known or (vendors[0] if vendors and _is_vendor(vendors[0]) else _of_family(name))


def _is_vendor(name: str) -> bool:
    if name in PLACEHOLDER_OWNERS or name in PLACES or name in _REGIONS:
        return False
    return _VENDOR.fullmatch(name) is not None and len(name) <= _MAX_NAME


def _of_family(name: str) -> str:
    plain = re.split("[:@]", name, maxsplit=1)[0]  # without the tag of `phi3:14b` and `gemini-pro@001`
    vendor, dot, rest = plain.partition(".")
    if vendor in _REGIONS:
        vendor, dot, _ = rest.partition(".")
    if dot and canonical(vendor) in _MAKERS:  # Bedrock's `meta.llama3-8b-instruct-v1:0`
        return canonical(vendor)
    # LM Studio prefixes embedding models with `text-embedding-`, Databricks all models with its own name.
    candidates = dict.fromkeys((plain, plain.removeprefix("text-embedding-"), plain.removeprefix("databricks-")))
    return next((maker for maker in map(_maker, candidates) if maker), "")


def _maker(name: str) -> str:
    expression, makers = _families(name[:1] if name[:1] in _FIRSTS else "*")
    family = expression.match(name)
    return makers[family.lastindex - 1] if family and family.lastindex else ""
