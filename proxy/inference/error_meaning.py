"""What a provider's error means, from its content: providers use the same statuses for different errors. Pure.

Add new codes and messages of providers to the tables of this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from proxy.dialects import rejects_key
from proxy.inference.error_content import ErrorContent

_REQUEST_CODES = frozenset(
    {
        "content_policy_violation", "moderation_blocked", "invalid_prompt",  # OpenAI: refused texts and images
        "content_filter", "responsibleaipolicyviolation",  # Azure OpenAI, and clones of its filter
        "unsupported_country_region_territory",  # OpenAI: where it cannot be used
        "data_inspection_failed", "datainspectionfailed",  # Alibaba Model Studio
        "sensitivecontentdetected",  # Volcengine Ark
        "safety", "prohibited_content", "content_blocked", "blocklist", "spii",  # Gemini: reasons of blocked prompts
        "context_length_exceeded",  # Together reports too long requests with status 403
        "exceed_context_size_error",  # llama.cpp
    }
)  # fmt: skip
"""Codes and types, in lower case, of a 403 or a 500 that is about the request. Any other 403 is about the proxy's
credential."""
_REQUEST_MEMBERS = ("reasons", "flagged_input")
"""Members of `error` or of its `metadata` in a 403 of OpenRouter's moderation."""
_REQUEST_WORDS = ("violates usage guidelines", "SAFETY_CHECK_TYPE_")
"""Words of a 403 of xAI about the request; its code is the same as for a credential without permission."""
_NO_CREDIT_CODES = frozenset(
    {
        "arrearage", "allocationquota.freetieronly",  # Alibaba Model Studio
        "insufficient_user_quota", "pre_consume_token_quota_failed",  # One-API, New-API
        "accountoverdueerror",  # Volcengine Ark
        "insufficient_quota", "insufficient_credits", "insufficient_balance", "billing_not_active",
    }
)  # fmt: skip
"""Codes and types, in lower case, of an error for an account without credit, which is handled like a 402."""
_NO_CREDIT_WORDS = ("credit balance is too low", "used all available credits", "account balance is insufficient")
"""Words in such errors of Anthropic, xAI and SiliconFlow, whose codes are also used for other errors."""
_KEY_CODES = frozenset({"invalid_api_key", "invalidapikey", "api_key_invalid", "api_key_expired"})
"""Codes and types, in lower case, of an error for an API key that the provider rejects, which is handled like a 401."""
_MISSING_MODEL_CODES = frozenset(
    {
        "model_not_found", "modelnotfound", "model_not_exist", "modelnotexist", "invalid_model", "unknown_model",
        "model_not_supported",  # Hugging Face
        "model_decommissioned", "model_deprecated", "model_terminated",  # Groq and others
        "deploymentnotfound",  # Azure OpenAI
        "invalidendpointormodel.notfound", "modelnotopen",  # Volcengine Ark
        "1211",  # Zhipu
        "20012",  # SiliconFlow
    }
)  # fmt: skip
"""Codes and types, in lower case, of an error for a model that the provider lacks."""
_MISSING_MODEL_WORDS = re.compile(
    r"""\bmodel\b.{0,150}?(?:
          \b(?:does\ not|doesn't|not)\ exist\b | \bnot\ found\b | \bno\ longer\ (?:available|supported|exists)\b
        | \bhas\ been\ (?:decommissioned|deprecated|removed|retired|withdrawn|discontinued)\b
        | \bnot\ supported\ by\ any\ provider\b | \bidentifier\ is\ invalid\b )
      | \b(?:invalid|unknown|unrecognized)\ model\b | \bnot\ a\ valid\ model\b
      | \bcould\ not\ find\b.{0,40}\bmodel | 模型不存在""",
    re.IGNORECASE | re.VERBOSE,
)
"""Words in the messages of such errors; providers send them with the statuses 400, 403, 404, 410, 422, 500 and 503."""
_DELAY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
_READ = 400  # characters of a message that are searched


def meant_status(status: int, content: ErrorContent) -> int:
    """Return the status that an error means: 401 and 402 also for other statuses about the proxy's key and account."""
    if not 400 <= status < 500 or status in (401, 402, 404, 429):
        return status
    codes = codes_of(content)
    if not _NO_CREDIT_CODES.isdisjoint(codes) or any(words in content.message.lower() for words in _NO_CREDIT_WORDS):
        return 402
    if status in (400, 403) and (not _KEY_CODES.isdisjoint(codes) or rejects_key(content.message)):
        return 401
    return status


def is_about_request(content: ErrorContent) -> bool:
    """Whether a 403 is about the request, not about the proxy's credential, or a 500 not about the provider."""
    details = content.details
    metadata = details.get("metadata")
    named = {**details, **metadata} if isinstance(metadata, dict) else details
    return (
        any(named.get(name) for name in _REQUEST_MEMBERS)
        or not _REQUEST_CODES.isdisjoint(codes_of(content))
        or any(words in content.message for words in _REQUEST_WORDS)
    )


def is_missing_model(content: ErrorContent) -> bool:
    """Whether the provider lacks the model, although it lists it. Then it did no work."""
    return (
        not _MISSING_MODEL_CODES.isdisjoint(codes_of(content))
        or _MISSING_MODEL_WORDS.search(content.message[:_READ]) is not None
    )


def retry_delay(content: ErrorContent) -> float | None:
    """Return the seconds after which an error of Google's APIs recommends a retry, None for any other error."""
    for each in _details_of(content):
        delay = each.get("retryDelay")
        if isinstance(delay, str) and (seconds := _DELAY.fullmatch(delay)):
            return float(seconds[1])
    return None


def codes_of(content: ErrorContent) -> Collection[str]:
    """Return the codes and types of an error, and the reasons that errors of Google's APIs contain, in lower case."""
    details = content.details
    codes = {str(details.get(name)).lower() for name in ("code", "type", "status")}
    return codes | {reason.lower() for each in _details_of(content) if isinstance(reason := each.get("reason"), str)}


def _details_of(content: ErrorContent) -> Iterator[Mapping[str, Any]]:
    """Yield the objects with which Google's APIs explain an error."""
    details = content.details.get("details")
    yield from (each for each in (details if isinstance(details, list) else ()) if isinstance(each, dict))
