"""Describe the body of a response that is not a list: its form, and the text that explains it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from proxy.dialects.diagnosis import ANY_DECODER, BOM, message_in, one_line

Form = Literal["JSON", "HTML page", "XML document", "plain text", "binary data", "no body"]

_MAX_MARKUP = 16 * 1024  # bytes that are searched for a title and for a form
_MARKUP = re.compile(rb"\s*(?:<!doctype|<\?xml|<!--|</?[a-z])", re.IGNORECASE)
# The first of these elements with a text names the page. `message`: XML errors of AWS and similar APIs.
_PRECEDENCE = ("title", "message", "h1", "h2", "p")
_HEADINGS = re.compile(r"<(title|message|h1|h2|p)\b[^<>]*>([^<>]*)", re.IGNORECASE)
_LOGIN = re.compile(r"\b(?:sign[ -]?[io]n|log[ -]?[io]n|single sign|sso|captive portal|hotspot)\b", re.IGNORECASE)
_PASSWORD = re.compile(r"""\btype=["']?password\b""", re.IGNORECASE)
_CHALLENGE = re.compile(
    r"just a moment|attention required|checking your browser|verify(?:ing)? (?:that )?you are human|are you a robot"
    r"|captcha|ddos protection|pardon our interruption|access denied|request (?:blocked|rejected)|human verification"
    r"|security check|web page blocked|you have been blocked",
    re.IGNORECASE,
)


_REJECTED_KEY = re.compile(
    r"\s*(?:(?:incorrect|invalid|expired|unknown) api[ -]?key"
    r"|(?:the |this |your )?(?:provided )?api[ -]?key (?:is |was |has |has been )?"
    r"(?:not valid|invalid|incorrect|expired|disabled|revoked|deactivated|suspended|blocked|reported as leaked))",
    re.IGNORECASE,
)
"""Matches messages of Gemini, xAI and others that reject an API key, but have the status of an invalid request."""


@dataclass(frozen=True)
class ErrorBody:
    """The form of a body, and its explanation."""

    form: Form
    text: str = ""
    """The error message, the title of the page or the plain text, on one line; "" if there is none."""
    is_login: bool = False
    """Whether it is a login page."""
    is_firewall: bool = False
    """Whether its content identifies it as the response of a firewall."""

    @property
    def is_markup(self) -> bool:
        return self.form in ("HTML page", "XML document")


def rejects_key(message: str) -> bool:
    """Whether the message of an error reports that an API key is not accepted, whatever its status."""
    return _REJECTED_KEY.match(message) is not None


def describe_body(body: bytes) -> ErrorBody:
    """Describe the body of any response."""
    text = body.removeprefix(BOM).strip()
    if not text:
        return ErrorBody("no body")
    if _MARKUP.match(text):
        return _markup(text[:_MAX_MARKUP].decode(errors="replace"))
    try:
        payload = ANY_DECODER.decode(text)
    except (ValueError, RecursionError):
        return _plain(text)
    # Cloudflare sends its own errors as JSON to clients that accept JSON.
    is_firewall = isinstance(payload, dict) and payload.get("cloudflare_error") is True
    return ErrorBody("JSON", one_line(message_in(payload)), is_firewall=is_firewall)


def _markup(text: str) -> ErrorBody:
    import html  # only for error messages: its table of entities takes 0.3 MiB

    is_xml = text.startswith("<?xml") and "<html" not in text[:1000].lower()
    elements = [(match[1].lower(), one_line(html.unescape(match[2]))) for match in _HEADINGS.finditer(text)]
    heading = next((shown for name in _PRECEDENCE for element, shown in elements if element == name and shown), "")
    is_login = bool(_LOGIN.search(heading) or _PASSWORD.search(text))
    form: Form = "XML document" if is_xml else "HTML page"
    return ErrorBody(form, heading, is_login, is_firewall=bool(_CHALLENGE.search(heading)))


def _plain(text: bytes) -> ErrorBody:
    try:
        return ErrorBody("plain text", one_line(text.decode()))
    except ValueError:
        return ErrorBody("binary data")
