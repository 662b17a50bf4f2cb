"""Sign requests to AWS (Signature Version 4) with botocore, an optional dependency that is imported here only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import httpx

from proxy.config import Provider
from proxy.errors import UpstreamError

if TYPE_CHECKING:
    from botocore.credentials import Credentials, ReadOnlyCredentials


class Signer:
    """Signs requests with the keys of a provider, or else with those that botocore finds in its environment."""

    setting = "AWS credentials"
    """What to check if they are rejected."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._credentials: Credentials | None = None
        self.secrets: Sequence[str] = ()
        """Of the last signature: messages must not contain them."""

    async def headers_of(self, request: httpx.Request) -> Mapping[str, str]:
        """The headers that sign a request without a body. Raises UpstreamError.

        In a thread: botocore takes 0.2 s to import, and requests keys from the metadata service of a machine.
        """
        return await asyncio.to_thread(self._sign, str(request.url))

    def _sign(self, url: str) -> Mapping[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        keys = self._keys()
        self.secrets = [key for key in (keys.secret_key, keys.token, keys.access_key) if key]
        request = AWSRequest(method="GET", url=url)
        SigV4Auth(keys, self._provider.dialect.aws, str(self._provider.settings["region"])).add_auth(request)
        return dict(request.headers.items())

    def _keys(self) -> ReadOnlyCredentials:
        """The current keys; botocore renews temporary ones."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._credentials = self._credentials or self._find()
            return self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            # Its text can contain a response of the metadata service.
            reason = f"AWS credentials cannot be loaded ({type(error).__name__})"
            raise UpstreamError("unauthorized", reason, retryable=True) from error

    def _find(self) -> Credentials:
        from botocore.credentials import Credentials
        from botocore.session import Session

        key, secret, token = (
            self._provider.access_key_id,
            self._provider.secret_access_key,
            self._provider.session_token,
        )
        if key and secret:
            plain = token.get_secret_value() if token else None
            return Credentials(key.get_secret_value(), secret.get_secret_value(), plain)
        if credentials := Session().get_credentials():
            return credentials
        reason = "no AWS credentials: set access_key_id and secret_access_key, api_key, or AWS_ACCESS_KEY_ID"
        raise UpstreamError("unauthorized", reason)


def signer_of(provider: Provider) -> Signer | None:
    """The signer of a provider, None if its requests are not signed."""
    return Signer(provider) if provider.dialect.aws and not provider.all_api_keys else None
