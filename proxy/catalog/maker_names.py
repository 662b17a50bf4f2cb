"""The name of a maker in one spelling, from what providers and ids call it."""

from __future__ import annotations

import re
from functools import lru_cache

from proxy.catalog.families import FAMILIES
from proxy.catalog.hosts import CHANNELS, HOSTS, PLACEHOLDER_OWNERS
from proxy.catalog.makers import SPELLINGS

MAX_NAME = 64
"""Characters of a name."""
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


def key_of(name: str) -> str:
    """A name without regard to case, spaces and separators, for comparisons."""
    return "".join(name.split()).lower().translate(_SEPARATORS)


MAKERS = ({maker for maker, _ in FAMILIES} | set(SPELLINGS.values())) - {""}
_CANONICAL = {key_of(maker): maker for maker in MAKERS} | {key_of(name): maker for name, maker in SPELLINGS.items()}
HOST_KEYS = frozenset(map(key_of, HOSTS))
PLACEHOLDER_KEYS = frozenset(map(key_of, PLACEHOLDER_OWNERS))


def canonical(name: str) -> str:
    """A maker's name in lower case, with `-` for spaces and slashes, in one spelling for each known maker."""
    plain = "-".join(name.replace("/", " ").split()).lower()
    return _CANONICAL.get(key_of(plain), plain)


@lru_cache(maxsize=10_000)
def maker_from_text(owner: str) -> str:
    """The maker that a provider reports, "" if it is a placeholder, a host, a gateway, an address or an account."""
    if "://" in owner or not owner.replace("\t", " ").isprintable():
        return ""
    text = owner.partition(" / ")[0]  # "DeepSeek / Meta"
    if is_known(text) or "/" not in text:
        return _name_from_text(text)
    # "openrouter/anthropic"
    return next((maker for maker in map(_name_from_text, text.split("/")) if maker in MAKERS), _name_from_text(text))


def is_known(text: str) -> bool:
    key = key_of(text)
    return key in _CANONICAL or key in HOST_KEYS or key in PLACEHOLDER_KEYS


def _name_from_text(text: str) -> str:
    if not is_known(text):
        text = _COMPANY.sub("", _REMARK.sub("", text)) or text
    if not is_known(text) and is_known(shorter := _ENDING.sub("", text)):
        text = shorter
    key, name = key_of(text), canonical(text)
    if key in HOST_KEYS or key in PLACEHOLDER_KEYS:
        return ""
    if name in MAKERS:
        return name
    is_filler = (
        key.startswith(CHANNELS) or "@" in name or len(name) > MAX_NAME or _NOT_A_NAME.fullmatch(name) is not None
    )
    return "" if is_filler else name
