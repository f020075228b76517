"""Who may ask: anyone, or who knows the key."""

import hmac
from collections.abc import Mapping

from tfllm.serving.server.statuses import ServingError

# Header of REST, metadata of gRPC.
HEADER = "x-api-key"


class Access:
    """Checks the key of a request.

    Args:
        key: What clients send as `x-api-key`, or as `authorization: Bearer`;
            "" lets everyone in.
    """

    def __init__(self, key: str = "") -> None:
        """See the class."""
        self._key = key.encode()

    def allows(self, headers: Mapping[str, str]) -> bool:
        """Whether headers (names in lower case) hold the key."""
        if not self._key:
            return True
        given = headers.get(HEADER, "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not given and scheme.lower() == "bearer":
            given = token.strip()
        return hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), self._key
        )

    def refusal(self) -> ServingError:
        """Returns the failure of all others."""
        return ServingError("UNAUTHENTICATED", f"`{HEADER}` is needed")
