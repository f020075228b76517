"""Checks the API key of requests."""

import hmac
from collections.abc import Mapping

from tfllm.server.statuses import ServingError

# REST header and gRPC metadata key.
HEADER = "x-api-key"


class Access:
    """Checks the key of a request.

    Args:
        key: Key that clients send as `x-api-key`, or as `authorization:
            Bearer`; "" to accept every request.
    """

    def __init__(self, key: str = "") -> None:
        self._key = key.encode()

    def allows(self, headers: Mapping[str, str]) -> bool:
        """Whether headers (names in lower case) hold the key."""
        if not self._key:
            return True
        key = headers.get(HEADER, "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not key and scheme.lower() == "bearer":
            key = token.strip()
        return hmac.compare_digest(
            key.encode("utf-8", "surrogateescape"), self._key
        )

    def refusal(self) -> ServingError:
        """Returns the error for requests without the key."""
        return ServingError("UNAUTHENTICATED", f"`{HEADER}` is needed")
