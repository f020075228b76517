"""Settings of a server."""

import dataclasses
import os
import ssl

from tfllm.server.batching_config import BatchingConfig
from tfllm.server.http_messages import Limits
from tfllm.server.protos import ModelServerConfig

# About 50,000 words: longer than most documents, tokenized in seconds.
MAX_TEXT_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True)
class Tls:
    """Certificate and key files.

    Attributes:
        certificate_file: PEM, the whole chain.
        key_file: PEM.
    """

    certificate_file: str
    key_file: str

    def context(self) -> ssl.SSLContext:
        """Returns the context for HTTPS.

        Raises:
            ValueError: The files are not a certificate and its key.
            OSError: A file cannot be read.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate_file, self.key_file)
        except ssl.SSLError as error:
            raise ValueError(
                "`ssl_certificate_file` and `ssl_key_file` must be PEM files "
                f"that belong together. Received: {self.certificate_file} "
                f"and {self.key_file}: {error}"
            ) from error
        return context

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Returns key and certificate for gRPC."""
        with open(self.key_file, "rb") as file:
            key = file.read()
        with open(self.certificate_file, "rb") as file:
            return [(key, file.read())]


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """All settings of a server.

    Attributes:
        config: The models.
        host: Address to listen on.
        port: Port of gRPC; 0 takes a free one, None turns gRPC off.
        rest_api_port: Port of REST, likewise.
        rest_timeout_seconds: Timeout of a REST request.
        rest_threads: REST requests at a time; 0 for two per core, or, with
            batching, for two full batches.
        grpc_threads: gRPC calls at a time, likewise.
        batching: Batching parameters; None for no batching.
        per_model_batching: Parameters in a version's folder replace
            `batching`.
        warm_up: Replay the warm-up requests of a version.
        warm_up_iterations: Number of times that each of them is replayed.
        poll_seconds: Seconds between two looks at the folders; 0 for one look.
        max_load_retries: Number of retries of a refused version.
        load_retry_seconds: Seconds between two tries.
        allow_unavailable_labels: Allow labels of versions that are not
            loaded.
        health_service: Offer gRPC health checks.
        limits: Limits of REST connections; `body_bytes` also limits gRPC
            requests.
        max_text_bytes: Longest string of a request; None for no limit.
        tls: Certificate for both ports; None for no TLS.
        api_key: Key that clients must send; "" for none.
        grace_seconds: Seconds for running requests after a signal to stop.
    """

    config: ModelServerConfig
    host: str = "127.0.0.1"
    port: int | None = 8500
    rest_api_port: int | None = 8501
    rest_timeout_seconds: float = 30.0
    rest_threads: int = 0
    grpc_threads: int = 0
    batching: BatchingConfig | None = None
    per_model_batching: bool = False
    warm_up: bool = True
    warm_up_iterations: int = 1
    poll_seconds: float = 1.0
    max_load_retries: int = 0
    load_retry_seconds: float = 60.0
    allow_unavailable_labels: bool = False
    health_service: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)
    max_text_bytes: int | None = MAX_TEXT_BYTES
    tls: Tls | None = None
    api_key: str = ""
    grace_seconds: float = 30.0

    def num_threads(self, setting: int) -> int:
        """Returns the number of requests that run at a time.

        Args:
            setting: `rest_threads` or `grpc_threads`; 0 for the default.
        """
        if setting:
            return setting
        threads = 2 * (os.cpu_count() or 1)
        if self.batching is None:
            return threads
        return max(threads, min(2 * self.batching.max_batch_size, 256))
