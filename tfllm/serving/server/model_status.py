"""The status and the metadata of a model, for REST and gRPC."""

from tfllm.serving.server.model_versions import ModelVersions, Wanted
from tfllm.serving.server.protos import (
    GetModelStatusResponse,
    ModelVersionStatus,
    SignatureDefMap,
)
from tfllm.serving.server.statuses import NUMBERS


def status(versions: ModelVersions, wanted: Wanted) -> GetModelStatusResponse:
    """Returns the states of the versions of a model, newest first.

    Raises:
        ServingError: There is none.
    """
    response = GetModelStatusResponse()
    for number, state, error in versions.states(wanted):
        entry = response.model_version_status.add(
            version=number, state=ModelVersionStatus.State.Value(state)
        )
        entry.status.error_code = NUMBERS[error.code] if error else 0
        entry.status.error_message = error.message if error else ""
    return response


def metadata(
    versions: ModelVersions, wanted: Wanted
) -> tuple[int, SignatureDefMap]:
    """Returns the number and the signatures of a version.

    Raises:
        ServingError: There is no such version.
    """
    with versions.use(wanted) as servable:
        return servable.number, servable.signature_defs
