"""gRPC health checks (--enable_grpc_healthcheck_service)."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

_STATUS = health_pb2.HealthCheckResponse
SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)


class Health:
    """Reports whether every model has an available version.

    Args:
        server: Server to add the service to.
    """

    def __init__(self, server: grpc.Server) -> None:
        self._servicer = health.HealthServicer()
        self.set(False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def set(self, serving: bool) -> None:
        """Sets the status of all services."""
        status = _STATUS.SERVING if serving else _STATUS.NOT_SERVING
        for service in SERVICES:
            self._servicer.set(service, status)
