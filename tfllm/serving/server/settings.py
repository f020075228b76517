"""What a server is started with."""

import dataclasses
import os
import ssl

from tfllm.serving.server.batching_config import BatchingConfig
from tfllm.serving.server.http_messages import Limits
from tfllm.serving.server.protos import ModelServerConfig


@dataclasses.dataclass(frozen=True)
class Tls:
    """Certificates.

    Attributes:
        certificate_file: PEM, the whole chain.
        key_file: PEM.
    """

    certificate_file: str
    key_file: str

    def context(self) -> ssl.SSLContext:
        """Returns what HTTPS needs.

        Raises:
            ValueError: The files are no certificate and its key.
            OSError: They cannot be read.
        """
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            found.load_cert_chain(self.certificate_file, self.key_file)
        except ssl.SSLError as error:
            raise ValueError(
                "`ssl_certificate_file` and `ssl_key_file` must be PEM files "
                f"that belong together. Received: {self.certificate_file} "
                f"and {self.key_file}: {error}"
            ) from error
        return found

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Returns key and certificate, as gRPC wants them."""
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
        port: Of gRPC; 0 takes a free one, None listens on none.
        rest_api_port: Of REST, likewise.
        rest_timeout_seconds: How long a REST request may take.
        rest_threads: REST requests at a time; 0 for two per core, or, with
            batching, for two full batches.
        grpc_threads: gRPC calls at a time, likewise.
        batching: How requests are merged; None for not at all.
        per_model_batching: A version's own parameters win over `batching`.
        warm_up: Replay the warm-up requests of a version.
        warm_up_iterations: How often each of them.
        poll_seconds: Between two looks at the folders; 0 looks only once.
        max_load_retries: How often a refused version is tried again.
        load_retry_seconds: Time between two tries.
        allow_unavailable_labels: Labels may name what is not loaded.
        health_service: Offer gRPC's health checks.
        limits: What a REST client may ask for; its `body_bytes` holds for
            gRPC as well.
        tls: Certificates for both; None for none.
        api_key: What clients must send; "" lets everyone in.
        grace_seconds: How long requests may go on after a signal to stop.
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
    tls: Tls | None = None
    api_key: str = ""
    grace_seconds: float = 30.0

    def num_threads(self, given: int) -> int:
        """Returns how many requests are worked on at once.

        Args:
            given: `rest_threads` or `grpc_threads`.
        """
        if given:
            return given
        threads = 2 * (os.cpu_count() or 1)
        if self.batching is None:
            return threads
        return max(threads, min(2 * self.batching.max_batch_size, 256))
