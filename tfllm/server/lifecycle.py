"""Starts and stops the server: models, REST, gRPC, polling thread."""

import logging
import os
import threading

import grpc

from tfllm.server import batching_config, grpc_service, servable, warm_up
from tfllm.server.access import Access
from tfllm.server.health import Health
from tfllm.server.http_messages import Service
from tfllm.server.http_server import HttpServer
from tfllm.server.inference import Inference
from tfllm.server.metrics import Metrics
from tfllm.server.model_versions import ModelVersions
from tfllm.server.rest import Rest
from tfllm.server.servable import Servable
from tfllm.server.settings import ServerSettings
from tfllm.server.statuses import ServingError

logger = logging.getLogger(__name__)


class Server:
    """A running server.

    Args:
        settings: Settings of the server.

    Raises:
        ValueError: A port is taken, or a certificate is not valid.
        OSError: A file cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self.versions = ModelVersions(
            settings.config,
            self._load,
            settings.max_load_retries,
            settings.load_retry_seconds,
        )
        self._stopping = threading.Event()
        self._inference = Inference(self._metrics, settings.max_text_bytes)
        self._health: Health | None = None
        self._http = self._listen_http()
        self._grpc, self.grpc_port = None, 0
        if settings.port is not None:
            try:
                self._grpc, self.grpc_port = self._listen_grpc(settings.port)
            except Exception:
                if self._http is not None:
                    self._http.server_close()
                raise
        self._poller = threading.Thread(
            target=self._poll, name="poll", daemon=True
        )

    @property
    def rest_port(self) -> int:
        """Port of REST; 0 without REST."""
        return self._http.port if self._http is not None else 0

    def _listen_http(self) -> HttpServer | None:
        settings = self._settings
        if settings.rest_api_port is None:
            return None
        access = Access(settings.api_key)
        rest = Rest(
            self.versions,
            self._inference,
            self._metrics,
            access,
            settings.rest_timeout_seconds,
            settings.num_threads(settings.rest_threads),
        )
        tls = settings.tls.context() if settings.tls is not None else None
        address = (settings.host, settings.rest_api_port)
        try:
            return HttpServer(
                address, Service(rest.answer, rest.gate, settings.limits, tls)
            )
        except (OSError, OverflowError) as error:
            raise ValueError(
                "`rest_api_port` must be free on `host`. Received: "
                f"{address[0]}:{address[1]}, {error}. Give another port."
            ) from error

    def _listen_grpc(self, port: int) -> tuple[grpc.Server, int]:
        settings = self._settings
        prediction = grpc_service.PredictionService(
            self.versions, self._inference, self._metrics
        )
        models = grpc_service.ModelService(
            self.versions, settings.allow_unavailable_labels
        )
        server = grpc_service.create(
            prediction,
            models,
            Access(settings.api_key),
            settings.num_threads(settings.grpc_threads),
            settings.limits.body_bytes,
        )
        if settings.health_service:
            self._health = Health(server)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{host}:{port}"
        try:
            if settings.tls is None:
                return server, server.add_insecure_port(address)
            credentials = grpc.ssl_server_credentials(settings.tls.pairs())
            return server, server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ValueError(
                f"`port` must be free on `host`. Received: {address}. Give "
                "another port."
            ) from error

    def _load(self, name: str, number: int, folder: str) -> Servable:
        """Loads and warms up a version."""
        settings = self._settings
        batching = settings.batching
        parameters = os.path.join(folder, batching_config.FILE)
        if batching is not None and (
            settings.per_model_batching and os.path.isfile(parameters)
        ):
            try:
                batching = batching_config.read(parameters)
            except (ValueError, OSError) as error:
                raise ServingError("INVALID_ARGUMENT", str(error)) from error
        version = servable.load(name, number, folder, batching, self._metrics)
        if settings.warm_up:
            try:
                warm_up.warm_up(
                    version, folder, settings.warm_up_iterations, self._metrics
                )
            except BaseException:
                version.close()
                raise
        return version

    def start(self) -> None:
        """Starts to listen, and loads the models in a thread."""
        if self._http is not None:
            self._http.start()
        if self._grpc is not None:
            self._grpc.start()
        self._poller.start()

    def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                self.versions.poll()
            except Exception:
                # A bug must not stop the polling.
                logger.exception("looking for versions")
            if self._health is not None:
                self._health.set(not self.versions.unavailable())
            if not self._settings.poll_seconds:
                return
            self._stopping.wait(self._settings.poll_seconds)

    def stop(self) -> bool:
        """Accepts no more requests and finishes the accepted ones.

        Returns:
            Whether all finished in time.
        """
        self._stopping.set()
        grace = self._settings.grace_seconds
        if self._health is not None:
            self._health.set(False)
        done = self._grpc.stop(grace) if self._grpc is not None else None
        finished = self._http.stop(grace) if self._http is not None else True
        if done is not None:
            done.wait()
        if self._poller.is_alive():
            self._poller.join(grace)
        self.versions.close()
        return finished
