"""The types of values in a configuration, with their validation.

Error messages state the expected value and never quote the given one, which may be a secret. The validation adds the
text of the file, in which variables are not expanded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from proxy.config.hints import did_you_mean
from proxy.config.misplaced import no_secret

T = TypeVar("T")

_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]+)?)\s*(ms|s|m|h|d|)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,18})\s*(B|KiB|MiB|GiB|)")
_SIZE_UNITS = {"B": 1, "": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DIGITS = re.compile(r"[0-9]{1,18}")
FailoverCause = Literal["no_connection", "stream_error", "empty_stream", "timeout"]
"""What `failover_on` can contain besides statuses: no connection or login, an error that a response with status 2xx
begins with, a stream that ended soon without output, and no response in time."""
FAILOVER_CAUSES = get_args(FailoverCause)
_FAILOVER_STATUS = re.compile("[45][0-9]{2}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FRAMING = frozenset(
    {"content-length", "transfer-encoding", "trailer", "te", "connection", "keep-alive", "upgrade", "expect"}
)
_FILE_MODE = re.compile("0?[0-7]{3}")


def _duration(value: object) -> float:
    """`250ms`, `4s`, `5m`, `24h`, `7d`, or a number of seconds -> seconds."""
    match = _DURATION.fullmatch(str(value).strip())
    seconds = float(match[1]) * _DURATION_UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError("must be a positive duration, like 250ms, 4s, 5m, 24h or 7d")
    return seconds


def _size(value: object) -> int:
    """`512KiB`, `16MiB`, or a number of bytes -> bytes."""
    match = _SIZE.fullmatch(str(value).strip())
    size = int(match[1]) * _SIZE_UNITS[match[2]] if match else 0
    if size <= 0:
        raise ValueError("must be a positive size, like 512KiB or 16MiB")
    return size


def whole(least: int, most: int) -> BeforeValidator:
    def check(value: object) -> int:
        text = str(value).strip()
        if not _DIGITS.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return BeforeValidator(check)


def _day(value: object) -> date:
    """A date, or one in a string (`${NAME}`)."""
    try:
        if _DAY.fullmatch(str(value)):
            return date.fromisoformat(str(value))
    except ValueError:
        pass
    raise ValueError("must be a valid date, like 2027-01-31; the key expires at the end of that day (UTC)")


def _first_day(value: object) -> date:
    try:
        return _day(value)
    except ValueError:
        raise ValueError(
            "must be a valid date, like 2027-01-31; the key is valid from the start of that day (UTC)"
        ) from None


def fields_to_show(value: object) -> object:
    """`all`, `none` or a list of names -> None, an empty tuple, or the names."""
    if value == "all":
        return None
    if value == "none":
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError("must be `all`, `none` or a list of field names")
    return value


def declared_model(value: object) -> dict[str, Any]:
    """An id or a mapping -> a mapping."""
    if not isinstance(value, str | dict):
        raise ValueError("must be an id in quotes, or a mapping like {id: my-model, context_length: 32768}")
    return {"id": value} if isinstance(value, str) else value


def failover_conditions(value: object) -> object:
    """A list of status codes and names (`FailoverCause`) -> a tuple of numbers and these names."""
    listed = [str(item) for item in value] if isinstance(value, list | tuple) else None
    unknown = [item for item in listed or () if item not in FAILOVER_CAUSES and not _FAILOVER_STATUS.fullmatch(item)]
    if listed is None or unknown:
        *names, last = FAILOVER_CAUSES
        raise ValueError(
            "must be a list of status codes (400 to 599) and the names "
            f"{', '.join(names)} and {last}, like [no_connection, 429, 503]"
            + "".join(did_you_mean(item, FAILOVER_CAUSES) for item in unknown[:1])
        )
    return tuple(item if item in FAILOVER_CAUSES else int(item) for item in listed)


def lists_to_wait_for(value: object) -> object:
    """`any`, `all` or a list of names of providers."""
    names = value if isinstance(value, list | tuple) and value else ()
    if value not in ("any", "all") and not (names and all(isinstance(name, str) for name in names)):
        raise ValueError("must be `any`, `all` or a list of provider names, like [openai, lab]")
    return value


def off_if_false(value: object) -> object:
    """`off`, which YAML reads as false, as a word."""
    return "off" if value is False else value


def one_or_more(value: object) -> object:
    """A string, or a list of strings."""
    if not isinstance(value, str | list | tuple):
        raise ValueError("must be a string, or a list of strings")
    return (value,) if isinstance(value, str) else value


def alternatives(value: object) -> object:
    """One path, or a list of paths: the first that exists is used."""
    if not isinstance(value, str | list | tuple):
        raise ValueError("must be a string, or a list of strings (the first that exists is used)")
    return (value,) if isinstance(value, str) else value


def at_least_one(values: tuple[T, ...]) -> tuple[T, ...]:
    """Any list but an empty one. After `Field(min_length=1)`, a list of one invalid value is also "empty"."""
    if not values:
        raise ValueError("must not be empty")
    return values


def dotted(path: str) -> str:
    """A dotted path into a response."""
    if not all(name and not re.search(r"[\[\]$*]", name) for name in path.split(".")):
        raise ValueError("must be field names separated by dots, like result.entries")
    return path


def _parameter(value: object) -> object:
    """A query parameter as text: `100`, `true` and `0.5` need no quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit")
    return name


def _text(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def file_mode(value: object) -> int:
    """Permissions in octal digits, in quotes: YAML reads `0660` without them as 432."""
    if not isinstance(value, str) or not _FILE_MODE.fullmatch(value.strip()):
        raise ValueError('must be file permissions in quotes, like "0660"')
    return int(value, 8)


def header_name(name: str) -> str:
    if not HEADER_NAME.fullmatch(name):
        raise ValueError("must be a valid HTTP header name; write `Name: value`, like `X-Team: platform`")
    return name


def frames_nothing(name: str) -> str:
    """The name of a header. Raises ValueError for those that frame a request: they would break each of them."""
    if name.lower() in _FRAMING:
        raise ValueError("must not be a header that frames a request; remove it: the proxy sets it")
    return name


def check_filled(secret: SecretStr) -> SecretStr:
    """A secret of any characters. Raises ValueError if there are none."""
    if not secret.get_secret_value():
        raise ValueError("is empty; set a value or remove it")
    return secret


def check_sendable(secret: SecretStr) -> SecretStr:
    """A secret that can be sent in a header. Raises ValueError for any other."""
    text = check_filled(secret).get_secret_value()
    if not re.fullmatch(r"[\x20-\x7e]*", text) or text != text.strip():
        raise ValueError("must be printable ASCII without leading or trailing spaces, because it is sent in a header")
    return secret


def check_api_key(secret: SecretStr) -> SecretStr:
    """An API key without the parts that are often copied with it. Raises ValueError for any other."""
    text = check_sendable(secret).get_secret_value()
    if text[:7].lower() == "bearer ":
        raise ValueError("must not begin with `Bearer `; remove it: the proxy adds it")
    if text[0] in "\"'" or text[-1] in "\"'":
        raise ValueError("must not begin or end with a quote; remove the quotes: they are part of the value")
    return secret


DURATION = BeforeValidator(_duration)
Seconds = Annotated[float, DURATION]
Bytes = Annotated[int, BeforeValidator(_size)]
Name = Annotated[str, AfterValidator(_name), AfterValidator(no_secret)]
Text = Annotated[str, AfterValidator(_text)]
NotEmpty = Annotated[str, Field(min_length=1), AfterValidator(_text)]
Sendable = Annotated[SecretStr, AfterValidator(check_sendable)]
ApiKey = Annotated[SecretStr, AfterValidator(check_api_key)]
Day = Annotated[date, BeforeValidator(_day)]
FirstDay = Annotated[date, BeforeValidator(_first_day)]
Globs = tuple[NotEmpty, ...]
DottedPath = Annotated[Text, AfterValidator(dotted)]
DottedPaths = Annotated[tuple[DottedPath, ...], BeforeValidator(alternatives)]
SentHeader = Annotated[str, AfterValidator(header_name), AfterValidator(frames_nothing)]
QueryParameters = Mapping[NotEmpty, Annotated[str, BeforeValidator(_parameter)]]
Prefixes = Annotated[tuple[NotEmpty, ...], BeforeValidator(one_or_more)]
TokenCount = Annotated[int, whole(1, 1_000_000_000)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)
