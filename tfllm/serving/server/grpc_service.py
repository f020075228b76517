"""PredictionService and ModelService, with the official stubs.

Reference: tensorflow/serving 2.20, model_servers/prediction_service_impl.cc,
model_service_impl.cc; servables/tensorflow/get_model_metadata_impl.cc.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import grpc

from tfllm.serving.server import tensor_protos
from tfllm.serving.server.access import Access
from tfllm.serving.server.deadlines import Deadline
from tfllm.serving.server.inference import DEFAULT_SIGNATURE, Inference
from tfllm.serving.server.metrics import Metrics
from tfllm.serving.server.model_status import metadata, status
from tfllm.serving.server.model_versions import ModelVersions, Wanted
from tfllm.serving.server.protos import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServiceServicer,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictionServiceServicer,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
    add_ModelServiceServicer_to_server,
    add_PredictionServiceServicer_to_server,
)
from tfllm.serving.server.request_examples import serialized_examples
from tfllm.serving.server.servable import Servable
from tfllm.serving.server.statuses import (
    NUMBERS,
    ServingError,
    invalid_argument,
)

logger = logging.getLogger(__name__)

_SIGNATURE_DEF = "signature_def"


def _wanted(spec: ModelSpec) -> Wanted:
    """Returns what a ModelSpec asks for."""
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    kind = spec.WhichOneof("version_choice")
    if kind == "version_label":
        return Wanted(spec.name, label=spec.version_label)
    return Wanted(spec.name, spec.version.value if kind else None)


@contextlib.contextmanager
def _failures(context: grpc.ServicerContext) -> Iterator[None]:
    """Turns failures into gRPC's."""
    try:
        yield
    except ServingError as error:
        context.abort(grpc.StatusCode[error.code], error.message)
    except Exception:
        if context.code() is None:
            logger.exception("a gRPC call")
            context.abort(grpc.StatusCode.INTERNAL, "Internal error")
        raise


class _Call(NamedTuple):
    """What a request runs on."""

    servable: Servable
    signature: str
    deadline: Deadline


class PredictionService(PredictionServiceServicer):
    """Predict, Classify, Regress and GetModelMetadata.

    Args:
        versions: The models.
        inference: Runs them.
        metrics: Counts and latencies.
    """

    def __init__(
        self, versions: ModelVersions, inference: Inference, metrics: Metrics
    ) -> None:
        """See the class."""
        self._versions = versions
        self._inference = inference
        self._metrics = metrics

    @contextlib.contextmanager
    def _counted(
        self, api: str, spec: ModelSpec, context: grpc.ServicerContext
    ) -> Iterator[Deadline]:
        """Counts a request, and gives its deadline."""
        start, code = time.perf_counter(), "OK"
        with _failures(context):
            try:
                yield Deadline(context.time_remaining())
            except ServingError as error:
                code = error.code
                raise
            finally:
                known = spec.name in self._versions.names
                name = spec.name if known else ""
                self._metrics.requests.add(1, name, code)
                self._metrics.request_latency.add(
                    (time.perf_counter() - start) * 1e6, name, api, "GRPC"
                )

    @contextlib.contextmanager
    def _answering(
        self,
        api: str,
        request: Any,
        response: Any,
        context: grpc.ServicerContext,
    ) -> Iterator[_Call]:
        """Counts a request, holds its model, and says what answered.

        Args:
            api: Name of the call.
            request: Has a `model_spec`.
            response: Has a `model_spec`, which is filled in.
            context: Of the call.
        """
        spec, found = request.model_spec, response.model_spec
        name = spec.signature_name or DEFAULT_SIGNATURE
        with (
            self._counted(api, spec, context) as deadline,
            self._versions.use(_wanted(spec)) as servable,
        ):
            yield _Call(servable, name, deadline)
            found.name = spec.name
            found.signature_name = name
            found.version.value = servable.number

    def Predict(
        self, request: PredictRequest, context: grpc.ServicerContext
    ) -> PredictResponse:
        """Runs a signature on tensors."""
        response = PredictResponse()
        with self._answering("Predict", request, response, context) as call:
            outputs = self._inference.predict(
                call.servable,
                call.signature,
                {
                    key: tensor_protos.to_array(key, proto)
                    for key, proto in request.inputs.items()
                },
                list(request.output_filter),
                call.deadline,
            )
            infos = call.servable.signatures[call.signature].outputs
            for key, array in outputs.items():
                response.outputs[key].CopyFrom(
                    tensor_protos.to_proto(array, infos[key].dtype)
                )
        return response

    def Classify(
        self, request: ClassificationRequest, context: grpc.ServicerContext
    ) -> ClassificationResponse:
        """Gives labels and scores per example."""
        response = ClassificationResponse()
        with self._answering("Classify", request, response, context) as call:
            rows = self._inference.classify(
                call.servable,
                call.signature,
                serialized_examples(request.input),
                call.deadline,
            )
            for row in rows:
                found = response.result.classifications.add()
                for label, score in row:
                    found.classes.add(
                        label=label.decode("utf-8", "replace"), score=score
                    )
        return response

    def Regress(
        self, request: RegressionRequest, context: grpc.ServicerContext
    ) -> RegressionResponse:
        """Gives a number per example."""
        response = RegressionResponse()
        with self._answering("Regress", request, response, context) as call:
            values = self._inference.regress(
                call.servable,
                call.signature,
                serialized_examples(request.input),
                call.deadline,
            )
            for value in values:
                response.result.regressions.add(value=value)
        return response

    def MultiInference(
        self, request: MultiInferenceRequest, context: grpc.ServicerContext
    ) -> MultiInferenceResponse:
        """Is not served: nothing that tfllm exports needs it."""
        with _failures(context):
            raise ServingError(
                "UNIMPLEMENTED", "MultiInference is not supported"
            )

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        """Gives the signatures of a version."""
        response = GetModelMetadataResponse()
        with _failures(context):
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            if not request.metadata_field:
                raise invalid_argument(
                    "GetModelMetadataRequest must specify at least one "
                    "metadata_field"
                )
            for field in request.metadata_field:
                if field != _SIGNATURE_DEF:
                    raise invalid_argument(
                        f"Metadata field {field} is not supported"
                    )
            spec = request.model_spec
            number, signatures = metadata(self._versions, _wanted(spec))
            response.model_spec.name = spec.name
            response.model_spec.version.value = number
            response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest.

    Args:
        versions: The models.
        allow_unavailable_labels: Labels may name what is not loaded.
    """

    def __init__(
        self, versions: ModelVersions, allow_unavailable_labels: bool
    ) -> None:
        """See the class."""
        self._versions = versions
        self._allow = allow_unavailable_labels

    def GetModelStatus(
        self, request: GetModelStatusRequest, context: grpc.ServicerContext
    ) -> GetModelStatusResponse:
        """Gives the states of versions."""
        with _failures(context):
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            return status(self._versions, _wanted(request.model_spec))

    def HandleReloadConfigRequest(
        self, request: ReloadConfigRequest, context: grpc.ServicerContext
    ) -> ReloadConfigResponse:
        """Replaces all models."""
        response = ReloadConfigResponse()
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid_argument(
                    "ServerModelConfig does not contain a supported config type"
                )
            self._versions.reload(request.config, self._allow)
        except ServingError as error:
            response.status.error_code = NUMBERS[error.code]
            response.status.error_message = error.message
        return response


class _Gate(grpc.ServerInterceptor):
    """Refuses calls without the key."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._refused = grpc.unary_unary_rpc_method_handler(self._refuse)

    def _refuse(self, _: Any, context: grpc.ServicerContext) -> None:
        error = self._access.refusal()
        context.abort(grpc.StatusCode[error.code], error.message)

    def intercept_service(
        self,
        continuation: Callable[[Any], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        headers = {
            key: value if isinstance(value, str) else ""
            for key, value in handler_call_details.invocation_metadata
        }
        if self._access.allows(headers):
            return continuation(handler_call_details)
        return self._refused


def create(
    prediction: PredictionService,
    models: ModelService,
    access: Access,
    num_threads: int,
    max_message_bytes: int,
) -> grpc.Server:
    """Returns a server with both services; it has no port yet.

    Args:
        prediction: The first.
        models: The second.
        access: Who may call.
        num_threads: Calls at a time.
        max_message_bytes: Size of a request.
    """
    server = grpc.server(
        futures.ThreadPoolExecutor(num_threads, thread_name_prefix="grpc"),
        interceptors=[_Gate(access)],
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would share its requests.
            ("grpc.so_reuseport", 0),
        ],
    )
    add_PredictionServiceServicer_to_server(prediction, server)
    add_ModelServiceServicer_to_server(models, server)
    return server
