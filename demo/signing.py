"""Signed, expiring URLs, as a storage host behind a hub hands them out.

The scheme is ours; what clients see of it is AWS's: the signature covers the method, so a HEAD on a
URL signed for GET is refused, and it is checked when the request arrives, so a transfer under way
outlives its URL (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlencode

EXPIRES = "Expires"
SIGNATURE = "Signature"


class SignatureRefused(Exception):
    """A request that its URL does not allow; the message says why."""


class Signer:
    """Signs queries and checks them, with a key of its own: its URLs mean nothing to another one."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def sign(self, method: str, path: str, parameters: Mapping[str, str], lifetime: float) -> str:
        """The query string that allows this request for ``lifetime`` seconds."""
        signed = {**parameters, EXPIRES: f"{time.time() + lifetime:.3f}"}
        return urlencode({**signed, SIGNATURE: self._signature(method, path, signed)})

    def check(self, method: str, path: str, query: Mapping[str, str]) -> None:
        """Raises SignatureRefused unless ``sign`` made this query for this request, lately enough."""
        signed = {name: value for name, value in query.items() if name != SIGNATURE}
        expected = self._signature(method, path, signed)
        if not hmac.compare_digest(expected.encode(), query.get(SIGNATURE, "").encode()):
            raise SignatureRefused(
                "The request signature we calculated does not match the signature you provided."
            )
        if time.time() > float(signed[EXPIRES]):
            raise SignatureRefused("Request has expired")

    def _signature(self, method: str, path: str, parameters: Mapping[str, str]) -> str:
        text = "\n".join([method, path, urlencode(sorted(parameters.items()))])
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
