"""Status and metadata of a model, for REST and gRPC."""

from tfllm.server.model_versions import ModelVersions, Target
from tfllm.server.protos import (
    GetModelStatusResponse,
    ModelVersionStatus,
    SignatureDefMap,
)
from tfllm.server.statuses import NUMBERS


def status(versions: ModelVersions, target: Target) -> GetModelStatusResponse:
    """Returns the states of the versions of a model, newest first.

    Raises:
        ServingError: The model has no such version.
    """
    response = GetModelStatusResponse()
    for number, state, error in versions.states(target):
        entry = response.model_version_status.add(
            version=number, state=ModelVersionStatus.State.Value(state)
        )
        entry.status.error_code = NUMBERS[error.code] if error else 0
        entry.status.error_message = error.message if error else ""
    return response


def metadata(
    versions: ModelVersions, target: Target
) -> tuple[int, SignatureDefMap]:
    """Returns the number and the signatures of a version.

    Raises:
        ServingError: The version does not exist.
    """
    with versions.use(target) as servable:
        return servable.number, servable.signature_defs
