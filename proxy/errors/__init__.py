"""Errors: `ApiError` becomes the response to a client, `UpstreamError` describes a failed exchange with a provider.

Errors in the configuration file are in `config/problems.py`.
"""

from proxy.errors.access import (
    Forbidden,
    HostNotAllowed,
    InvalidKey,
    KeyInQuery,
    KeyNotUsable,
    LoginUnavailable,
    NoGroup,
    OriginNotAllowed,
)
from proxy.errors.administration import ConfigurationRejected, ProviderNotFound, ReloadDisabled
from proxy.errors.api_error import ApiError, whole_seconds
from proxy.errors.bugs import InternalError, describe_bug, drop_tracebacks
from proxy.errors.calls import (
    ProviderAuthFailed,
    ProviderFailed,
    ProviderOutOfCredit,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    RelayedError,
    ServerBusy,
    ShuttingDown,
)
from proxy.errors.limits import LimitExceeded
from proxy.errors.models import (
    ApiNotSupported,
    ModelListIncomplete,
    ModelListUnavailable,
    ModelNotCallable,
    ModelNotFound,
    ResponseNotFound,
    UpstreamTimeout,
    VersionsNotFound,
)
from proxy.errors.requests import (
    BadRequest,
    BodyTooLarge,
    ContentTypeRequired,
    HeadersTooLarge,
    MethodNotAllowed,
    PathNotFound,
    PathOutsideBase,
    RequestTimeout,
    UnsupportedMediaType,
    UriTooLong,
    WebsocketNotSupported,
)
from proxy.errors.upstream import CallErrorKind, ListErrorKind, UpstreamError, UpstreamErrorKind

__all__ = [
    "ApiError",
    "ApiNotSupported",
    "BadRequest",
    "BodyTooLarge",
    "CallErrorKind",
    "ConfigurationRejected",
    "ContentTypeRequired",
    "Forbidden",
    "HeadersTooLarge",
    "HostNotAllowed",
    "InternalError",
    "InvalidKey",
    "KeyInQuery",
    "KeyNotUsable",
    "LimitExceeded",
    "ListErrorKind",
    "LoginUnavailable",
    "MethodNotAllowed",
    "ModelListIncomplete",
    "ModelListUnavailable",
    "ModelNotCallable",
    "ModelNotFound",
    "NoGroup",
    "OriginNotAllowed",
    "PathNotFound",
    "PathOutsideBase",
    "ProviderAuthFailed",
    "ProviderFailed",
    "ProviderNotFound",
    "ProviderOutOfCredit",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnavailable",
    "RateLimited",
    "RelayedError",
    "ReloadDisabled",
    "RequestTimeout",
    "ResponseNotFound",
    "ServerBusy",
    "ShuttingDown",
    "UnsupportedMediaType",
    "UpstreamError",
    "UpstreamErrorKind",
    "UpstreamTimeout",
    "UriTooLong",
    "VersionsNotFound",
    "WebsocketNotSupported",
    "describe_bug",
    "drop_tracebacks",
    "whole_seconds",
]
