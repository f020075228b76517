"""TensorFlow Serving's messages and stubs, without the rest of TensorFlow."""

from tfllm.runtime.messages import without_tensorflow

with without_tensorflow():
    try:
        from tensorflow.core.example.example_pb2 import Example
        from tensorflow.core.framework.tensor_pb2 import TensorProto
        from tensorflow_serving.apis.classification_pb2 import (
            ClassificationRequest,
            ClassificationResponse,
        )
        from tensorflow_serving.apis.get_model_metadata_pb2 import (
            GetModelMetadataRequest,
            GetModelMetadataResponse,
            SignatureDefMap,
        )
        from tensorflow_serving.apis.get_model_status_pb2 import (
            GetModelStatusRequest,
            GetModelStatusResponse,
            ModelVersionStatus,
        )
        from tensorflow_serving.apis.inference_pb2 import (
            MultiInferenceRequest,
            MultiInferenceResponse,
        )
        from tensorflow_serving.apis.input_pb2 import Input
        from tensorflow_serving.apis.model_management_pb2 import (
            ReloadConfigRequest,
            ReloadConfigResponse,
        )
        from tensorflow_serving.apis.model_pb2 import ModelSpec
        from tensorflow_serving.apis.model_service_pb2_grpc import (
            ModelServiceServicer,
            ModelServiceStub,
            add_ModelServiceServicer_to_server,
        )
        from tensorflow_serving.apis.predict_pb2 import (
            PredictRequest,
            PredictResponse,
        )
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
        from tensorflow_serving.apis.prediction_service_pb2_grpc import (
            PredictionServiceServicer,
            PredictionServiceStub,
            add_PredictionServiceServicer_to_server,
        )
        from tensorflow_serving.apis.regression_pb2 import (
            RegressionRequest,
            RegressionResponse,
        )
        from tensorflow_serving.config.model_server_config_pb2 import (
            ModelConfig,
            ModelServerConfig,
        )
    except ImportError as error:
        raise ImportError(
            "the server needs the extra `serving`. Received: "
            f"{error}. Run: pip install 'tfllm[serving]'"
        ) from error

__all__ = [
    "ClassificationRequest",
    "ClassificationResponse",
    "Example",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "Input",
    "ModelConfig",
    "ModelServerConfig",
    "ModelServiceServicer",
    "ModelServiceStub",
    "ModelSpec",
    "ModelVersionStatus",
    "MultiInferenceRequest",
    "MultiInferenceResponse",
    "PredictRequest",
    "PredictResponse",
    "PredictionLog",
    "PredictionServiceServicer",
    "PredictionServiceStub",
    "RegressionRequest",
    "RegressionResponse",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "SignatureDefMap",
    "TensorProto",
    "add_ModelServiceServicer_to_server",
    "add_PredictionServiceServicer_to_server",
]
