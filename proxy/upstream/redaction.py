"""Redact credentials in a provider's text.

In reasons of failed lists, words that look like credentials are redacted, too (`redact`): others can see them. In
errors of calls, only known secrets are redacted (`redact_known`): everything else may be about the caller's request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, unquote_plus

from proxy.upstream.masking import forms_of

_MIN_SECRET = 4  # characters; shorter secrets would match ordinary text
_URL = re.compile(r"https?://", re.IGNORECASE)
_MIN_MASKED = 8  # characters; masked keys keep their first 5 and last 4 characters
_WORD = re.compile(r"[!#-&(-_a-~]+")  # ASCII only, because Chinese sentences have no spaces. Quotes end a word.


def redact(text: str, secrets: Sequence[str]) -> str:
    """Replace secrets and long random words in a provider's text with `***`."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "***")

    def redact_word(match: re.Match[str]) -> str:
        word = match[0]
        return redact_url(word, secrets) if _URL.match(word) else _redact_word(word, secrets)

    return _WORD.sub(redact_word, text)


def redact_url(url: str, secrets: Sequence[str]) -> str:
    """A URL with `***` for its query and for each label of the host and segment of the path that may be a secret."""
    plain, mark, _ = re.split(r"([?#])", url, maxsplit=1) if re.search(r"[?#]", url) else (url, "", "")
    scheme, _, rest = plain.partition("://")
    host, *segments = rest.split("/")
    labels = ".".join(_redact_word(label, secrets) for label in host.split("."))
    shown = f"{scheme}://{'/'.join([labels, *(_redact_word(segment, secrets) for segment in segments)])}"
    is_leaking = shown == plain and contains_secret(plain, secrets)
    return "***" if is_leaking else shown + (f"{mark}***" if mark else "")


def _redact_word(word: str, secrets: Sequence[str]) -> str:
    is_random = len(word) >= 20 and re.search(r"[0-9]", word) and re.search(r"[A-Za-z]", word)
    return "***" if is_random or "**" in word or contains_secret(word, secrets) else word


def contains_secret(word: str, secrets: Iterable[str]) -> bool:
    """Whether a text contains one of the secrets: whole, masked, or percent-encoded."""
    forms = (word, unquote(word), unquote_plus(word))
    for secret in secrets:
        parts = [secret] if len(secret) >= _MIN_SECRET else []
        parts += [secret[:5], secret[-4:]] if len(secret) >= _MIN_MASKED else []
        if any(part in form for part in parts for form in forms):
            return True
    return False


_KNOWN_WORD = re.compile(r"[!#-&(-_a-~\u2026\u2022\u25cf]+")
_MASK = re.compile(r"[*\u2022\u25cf]+|\.{2,}|\u2026|[Xx]{4,}|#{3,}")
_MIN_BEGINNING, _MIN_ENDING = 4, 3  # characters of a masked key
_MAX_MASKED_WORD = 1000  # characters; longer words are no masked keys
_END = ".,:;!?)]}"  # punctuation after a word
_IN_LINK = r"[!#-&(-;=@-_a-~]"  # ASCII without quotes, `<`, `>` and `?`
_LINK = re.compile(
    rf"(https?://)(?:[^\s/?#\"'<>`@]*@)?((?:(?!\#){_IN_LINK})*)(?P<query>[?\#](?:{_IN_LINK}|\?)*)?", re.I
)
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ACCOUNT = re.compile(
    rf"""
    # org-AbCdEf123456, proj_..., ak-...: with three digits, with a digit and a capital letter, or long
    (?<![\w-])(?:org|proj|acct|account|team|user|ak|wrkspc|workspace|tenant)[-_]
    (?:{_UUID}|(?=(?:[A-Za-z]*[0-9]){{3}}|(?=[A-Za-z]*[0-9])[0-9a-z]*[A-Z]|[A-Za-z0-9]{{20}})[A-Za-z0-9]{{6,}}
    (?:[-_][A-Za-z0-9]+)*)
    | # organization 968606d8-..., API key ID: 968606d8-..., account [2100123456], project_number:123456789012
    (?i:(?<=organization)|(?<=organisation)|(?<=account)|(?<=project)|(?<=team)|(?<=tenant)|(?<=workspace)
    |(?<=subscription)|(?<=customer)|(?<=user)|(?<=key))
    (?P<label>(?i:[ _-]?(?P<id>id|number))?["'`]?(?:\ ?[:=]|\ is)?\ ?["'`(\[<]{{0,2}})
    (?:{_UUID}|[0-9]{{10,}}|(?(id)[0-9]{{4,}}|(?!)))(?![\w-])
    | # resource names of clouds
    (?P<path>\bprojects/)[\w:-]+|(?P<arn>\barn:[\w-]+:[\w-]*:[\w-]*:)[0-9]+
    """,
    re.VERBOSE,
)


def redact_known(text: str, secrets: Sequence[str], credentials: Sequence[str]) -> str:
    """Replace secrets and account ids with `***`, and remove the query of links. No other word changes.

    `credentials` are also found masked or cut off, as providers quote them.
    """
    known = [secret for secret in (*secrets, *credentials) if len(secret) >= _MIN_SECRET]
    for form in sorted({form.decode() for secret in known for form in forms_of(secret)}, key=len, reverse=True):
        text = text.replace(form, "***")

    def redact_part(match: re.Match[str]) -> str:
        word = match[0].rstrip(_END)
        return "***" + match[0][len(word) :] if _shows(word, known, credentials) else match[0]

    return _ACCOUNT.sub(_without_id, _KNOWN_WORD.sub(redact_part, _LINK.sub(_without_query, text)))


def _without_query(match: re.Match[str]) -> str:
    query = match["query"] or ""
    return match[1] + match[2] + query[len(query.rstrip(_END)) :]


def _without_id(match: re.Match[str]) -> str:
    return (match["label"] or match["path"] or match["arn"] or "") + "***"


def _shows(word: str, known: Sequence[str], credentials: Sequence[str]) -> bool:
    """Whether a word contains a percent-encoded secret, or a part of a credential."""
    if "%" in word or "+" in word:
        forms = (unquote(word), unquote_plus(word))
        if any(secret in form for secret in known for form in forms):
            return True
    return any(_is_part(word, secret) for secret in credentials if len(secret) >= _MIN_MASKED)


def _is_part(word: str, secret: str) -> bool:
    """Whether a word is a credential that was masked (`sk-ab***wxyz`) or cut off."""
    if len(word) > _MAX_MASKED_WORD:
        return False
    for mask in _MASK.finditer(word):
        if (
            _overlap(secret, word[: mask.start()]) >= _MIN_BEGINNING
            or _overlap(word[mask.end() :], secret) >= _MIN_ENDING
        ):
            return True
    if word.isalpha() or word.isdigit():
        return False  # ordinary words and numbers
    return (len(word) >= 8 and secret.startswith(word)) or (len(word) >= 4 and secret.endswith(word))


def _overlap(begins: str, ends: str) -> int:
    """Return the length of the longest beginning of the first text with which the second one ends."""
    return next((size for size in range(min(len(begins), len(ends)), 0, -1) if ends.endswith(begins[:size])), 0)
