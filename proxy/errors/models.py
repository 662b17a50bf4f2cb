"""The model or the stored response is not there, cannot be called so, or is not known yet."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.errors.api_error import ApiError, whole_seconds


class ModelNotFound(ApiError):
    """The same response for unknown and for forbidden models: it does not reveal what other keys can access."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    hint = "List the models available to your key with GET /v1/models."

    def __init__(self, model: str, similar: Sequence[str] = ()) -> None:
        """`similar`: ids that the caller can see."""
        *others, last = [f"'{each}'" for each in similar] or [""]
        hint = f" Did you mean {', '.join(others)}{' or ' * bool(others)}{last}?" if similar else ""
        super().__init__(f"The model '{model}' does not exist or you do not have access to it.{hint}", param="model")


class ResponseNotFound(ApiError):
    """A stored response. The same bytes for unknown ids and for those of other keys."""

    status = 404
    type = "invalid_request_error"
    code = "response_not_found"
    hint = "Use the key that created the response; with `store: false`, nothing is stored."

    def __init__(self, response: str) -> None:
        super().__init__(
            f"The response '{response}' does not exist, or this API key did not create it in the last day."
        )


class VersionsNotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    hint = "Check the workspace id, the model id and the permissions of your key."

    def __init__(self) -> None:
        super().__init__("The workspace or model does not exist or you do not have access to it.")


class ModelNotCallable(ApiError):
    """A model whose providers are all list-only."""

    status = 400
    type = "invalid_request_error"
    code = "model_not_callable"
    hint = "Choose another model; this one is list-only."

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' is list-only: it cannot be called through this proxy.", param="model")


class ApiNotSupported(ApiError):
    """A call in an API that no provider of the model supports (`speaks`)."""

    status = 400
    type = "invalid_request_error"
    code = "api_not_supported"
    hint = "Call the model through one of the APIs in the message, or choose another model."

    def __init__(self, model: str, api: str, supported: Sequence[str]) -> None:
        """`api`: the API of the call; `supported`: those that the model can be called through."""
        super().__init__(
            f"The model '{model}' cannot be called through the {api}; use the {' or the '.join(supported)}.",
            param="model",
        )


class ModelListUnavailable(ApiError):
    """No provider has returned a model list, or all lists have expired."""

    status = 503
    type = "service_unavailable_error"
    code = "no_models_known"
    hint = "Retry after the number of seconds in the Retry-After header."


class ModelListIncomplete(ApiError):
    """A model that is not known while the list of a provider is missing.

    The same response for unknown and for forbidden models, as for ModelNotFound.
    """

    status = 503
    type = "service_unavailable_error"
    code = "model_list_incomplete"
    hint = "Retry after the number of seconds in the Retry-After header."

    def __init__(self, model: str, retry_after: float, *, is_listed: bool = False) -> None:
        """`is_listed`: a virtual model that is listed, but none of its targets is suitable yet."""
        what = "cannot be called in this way yet" if is_listed else "is not in the model list, which is incomplete"
        super().__init__(
            f"The model '{model}' {what}: the list of a provider is missing; retry after "
            f"{whole_seconds(retry_after)} s.",
            param="model",
            retry_after=retry_after,
        )


class UpstreamTimeout(ApiError):
    """408 of the Pangu contract: a provider has not responded within `initial_wait`."""

    status = 408
    type = "upstream_error"
    code = "timeout"
    hint = "Retry later."
