"""Hints in error messages: the most similar known word, the right section, the new name of a setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic_core import ErrorDetails

RENAMED: Mapping[str, str] = {
    "patience": "initial_wait",
    "open": "allow_anonymous",
    "drain": "drain_delay",
    "keep_alive": "sse_keepalive",
    "between_bytes_timeout": "idle_timeout",
    "extra": "extra_fields",
    "cut": "strip_prefix",
    "duplicates: keep": "duplicates: by_provider",
}
"""Old settings, and old values of settings, as written in a file -> the new ones."""

LITELLM = (
    "LiteLLM configuration files are not supported; list your providers under `providers:`, as in the shipped "
    "config.yaml"
)
_ELSEWHERE: Mapping[str, str] = {
    # Settings from other programs, or expect in another place -> the message.
    "model_list": LITELLM,
    "litellm_settings": LITELLM,
    "general_settings": LITELLM,
    "router_settings": LITELLM,
}

LIST = "must be a list: start each entry with `- `, or use [ ]"
PAIRS = "must be a mapping of `name: value` lines"
NO_VALUE = "has no value; set a value or remove the line"
_WORDS = {
    # Error types of pydantic -> messages for operators.
    "string_type": "must be a string; add quotes",
    "tuple_type": LIST,
    "model_type": PAIRS,
    "mapping_type": PAIRS,
    "dict_type": PAIRS,
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known word that is most similar to this one, "" if none is similar. `cutoff`: 0 (any word) to 1 (equal)."""
    import difflib  # only for error messages: a server with a valid file needs no memory for it

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, "" without a similar word."""
    match = closest(word, known)
    return f"; did you mean {match!r}?" if match else ""


def unknown_setting(name: str, known: Sequence[str], homes: Mapping[str, Iterable[str]]) -> str:
    """The message for a setting that does not exist here.

    `known`: the settings that exist here. `homes`: the other sections, as shown to the operator -> their settings.
    """
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    new = RENAMED.get(name, name)
    home = "" if new in known else next((home for home, names in homes.items() if new in names), "")
    if new != name:
        return f"renamed to `{new}`" + f"; it belongs under {home}" * bool(home)
    word = name.partition(":")[0]
    if word != name and word in known:
        return f"unknown setting; write `{word}: ` with a space after the colon"
    if home:
        return f"unknown setting; it belongs under {home}"
    return "unknown setting" + (did_you_mean(name, known) or f"; valid settings: {', '.join(known)}")


def words_for(error: ErrorDetails) -> str:
    """The message for an error of pydantic. It does not quote the value, which may be a secret."""
    if error["input"] is None:
        return NO_VALUE
    if error["type"] == "string_type" and isinstance(error["input"], list | dict):
        return "must be a string"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "literal_error":
        new = RENAMED.get(f"{error['loc'][-1]}: {error['input']}")
        return f"renamed to `{new}`" if new else f"must be {error['ctx']['expected']}"
    return _WORDS.get(error["type"], "has an invalid value")
