"""The web page at / to try the models, and its data."""

import functools
import json
import pathlib
from typing import Any

from tfllm.server import streaming
from tfllm.server.http_messages import Response
from tfllm.server.model_versions import AVAILABLE, ModelVersions, Target
from tfllm.server.servable import Servable
from tfllm.server.statuses import ServingError

MODELS_PATH = "/tfllm/models"
# The page loads nothing and only talks to this server.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def response() -> Response:
    """Returns the HTML page."""
    return Response(
        200,
        _html(),
        "text/html; charset=utf-8",
        {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        },
    )


@functools.cache
def _html() -> bytes:
    return pathlib.Path(__file__).with_suffix(".html").read_bytes()


def models(versions: ModelVersions) -> Response:
    """Returns models, versions and signatures as JSON for the page."""
    entries = [_model(versions, name) for name in versions.names]
    return Response(200, json.dumps({"models": entries}, indent=1).encode())


def _model(versions: ModelVersions, name: str) -> dict[str, Any]:
    """Returns the versions of a model."""
    try:
        states = versions.states(Target(name))
    except ServingError:  # no version yet
        states = []
    entries = []
    for number, state, error in states:
        entry: dict[str, Any] = {
            "version": number,
            "state": state,
            "error": error.message if error else "",
        }
        if state == AVAILABLE:
            try:
                with versions.use(Target(name, number)) as servable:
                    entry["signatures"] = _signatures(servable)
            except ServingError:  # unloaded meanwhile
                entry["state"] = "UNLOADING"
        entries.append(entry)
    return {"name": name, "versions": entries}


def _signatures(servable: Servable) -> dict[str, Any]:
    """Returns the inputs and outputs of all signatures."""
    return {
        name: {
            "inputs": {
                key: {"dtype": info.dtype, "rank": _rank(info.shape)}
                for key, info in signature.inputs.items()
            },
            "outputs": list(signature.outputs),
            "streams": name == streaming.SIGNATURE,
        }
        for name, signature in servable.signatures.items()
    }


def _rank(shape: tuple[int, ...] | None) -> int | None:
    return None if shape is None else len(shape)
