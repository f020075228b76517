"""PredictionService and ModelService, with the official stubs.

Reference: tensorflow/serving 2.20, model_servers/prediction_service_impl.cc,
model_service_impl.cc; servables/tensorflow/get_model_metadata_impl.cc.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple, TypeAlias, TypeVar

import grpc

from tfllm.server import tensor_protos
from tfllm.server.access import Access
from tfllm.server.deadlines import Deadline
from tfllm.server.inference import DEFAULT_SIGNATURE, Inference
from tfllm.server.metrics import Metrics
from tfllm.server.model_status import metadata, status
from tfllm.server.model_versions import ModelVersions, Target
from tfllm.server.protos import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    Input,
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
from tfllm.server.request_examples import serialized_examples
from tfllm.server.servable import Servable
from tfllm.server.statuses import NUMBERS, ServingError, invalid_argument

logger = logging.getLogger(__name__)

_SIGNATURE_DEF = "signature_def"
_Request: TypeAlias = PredictRequest | ClassificationRequest | RegressionRequest
_Response: TypeAlias = (
    PredictResponse | ClassificationResponse | RegressionResponse
)
_Result = TypeVar("_Result")


def _target(spec: ModelSpec) -> Target:
    """Returns the model and version of a ModelSpec."""
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    kind = spec.WhichOneof("version_choice")
    if kind == "version_label":
        return Target(spec.name, label=spec.version_label)
    return Target(spec.name, spec.version.value if kind else None)


@contextlib.contextmanager
def _failures(context: grpc.ServicerContext) -> Iterator[None]:
    """Turns a ServingError into a gRPC error."""
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
    """Model, signature and deadline of a request."""

    servable: Servable
    signature: str
    deadline: Deadline

    def on_examples(
        self,
        method: Callable[[Servable, str, Sequence[bytes], Deadline], _Result],
        content: Input,
    ) -> _Result:
        """Runs a method of Inference on the tf.Examples of a request."""
        return method(
            self.servable,
            self.signature,
            serialized_examples(content),
            self.deadline,
        )


class PredictionService(PredictionServiceServicer):
    """Answers Predict, Classify, Regress and GetModelMetadata.

    Args:
        versions: The models.
        inference: Runs them.
        metrics: Records counts and latencies.
    """

    def __init__(
        self, versions: ModelVersions, inference: Inference, metrics: Metrics
    ) -> None:
        self._versions = versions
        self._inference = inference
        self._metrics = metrics

    @contextlib.contextmanager
    def _answering(
        self,
        api: str,
        request: _Request,
        response: _Response,
        context: grpc.ServicerContext,
    ) -> Iterator[_Call]:
        """Counts a request, holds its model, and fills in the model spec.

        Args:
            api: Name of the method.
            request: Request with a model spec.
            response: Response, whose model spec is filled in.
            context: Context of the call.
        """
        spec, answered = request.model_spec, response.model_spec
        signature = spec.signature_name or DEFAULT_SIGNATURE
        model = spec.name if spec.name in self._versions.names else ""
        with (
            _failures(context),
            self._metrics.counting(model, api, "GRPC"),
        ):
            deadline = Deadline(context.time_remaining())
            with self._versions.use(_target(spec)) as servable:
                yield _Call(servable, signature, deadline)
                answered.name = spec.name
                answered.signature_name = signature
                answered.version.value = servable.number

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
        """Returns labels and scores per example."""
        response = ClassificationResponse()
        with self._answering("Classify", request, response, context) as call:
            for row in call.on_examples(
                self._inference.classify, request.input
            ):
                classification = response.result.classifications.add()
                for label, score in row:
                    classification.classes.add(
                        label=label.decode("utf-8", "replace"), score=score
                    )
        return response

    def Regress(
        self, request: RegressionRequest, context: grpc.ServicerContext
    ) -> RegressionResponse:
        """Returns a number per example."""
        response = RegressionResponse()
        with self._answering("Regress", request, response, context) as call:
            for value in call.on_examples(
                self._inference.regress, request.input
            ):
                response.result.regressions.add(value=value)
        return response

    def MultiInference(
        self, request: MultiInferenceRequest, context: grpc.ServicerContext
    ) -> MultiInferenceResponse:
        """Fails: no export of tfllm needs it."""
        with _failures(context):
            raise ServingError(
                "UNIMPLEMENTED", "MultiInference is not supported"
            )

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        """Returns the signatures of a version."""
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
            number, signatures = metadata(self._versions, _target(spec))
            response.model_spec.name = spec.name
            response.model_spec.version.value = number
            response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(ModelServiceServicer):
    """Answers GetModelStatus and HandleReloadConfigRequest.

    Args:
        versions: The models.
        allow_unavailable_labels: Allow labels of versions that are not
            loaded.
    """

    def __init__(
        self, versions: ModelVersions, allow_unavailable_labels: bool
    ) -> None:
        self._versions = versions
        self._allow = allow_unavailable_labels

    def GetModelStatus(
        self, request: GetModelStatusRequest, context: grpc.ServicerContext
    ) -> GetModelStatusResponse:
        """Returns the states of versions."""
        with _failures(context):
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            return status(self._versions, _target(request.model_spec))

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
    """Returns a server with both services, without a port.

    Args:
        prediction: Service for predictions.
        models: Service for the state of models.
        access: Checks the API key.
        num_threads: Calls at a time.
        max_message_bytes: Largest size of a request.
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
