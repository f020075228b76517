"""Serves exported models with TensorFlow Serving's REST and gRPC API.

    python -m tfllm.serve --model_base_path=exports/bert --model_name=bert

For development and small loads. In production use TensorFlow Serving, which
takes the same folders and requests, and the flags of the first three groups
below. Each folder BASE/<number> is a version. The newest one answers; a new one
takes over without a failed request. Try the models at http://127.0.0.1:8501/.
"""

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from absl import flags as absl_flags

from tfllm.runs import flags

if TYPE_CHECKING:
    from tfllm.server.batching_config import BatchingConfig
    from tfllm.server.lifecycle import Server
    from tfllm.server.protos import ModelServerConfig
    from tfllm.server.settings import ServerSettings, Tls

FLAGS = absl_flags.FLAGS
logger = logging.getLogger("tfllm")
KEY_VARIABLE = "TFLLM_API_KEY"


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Models")
    group.string(
        "model_base_path",
        "",
        "Folder of a model, with one folder per version. Needed unless "
        "--model_config_file is given.",
    )
    group.string(
        "model_name", "default", "Name of this model in the URLs of requests."
    )
    group.string(
        "model_config_file",
        "",
        "Text file with a ModelServerConfig: models, versions to serve, "
        "labels. Needed unless --model_base_path is given.",
    )
    group.number(
        "file_system_poll_wait_seconds",
        1.0,
        "Seconds between two checks for new versions; 0 to check only once.",
    )
    group.integer(
        "max_num_load_retries",
        0,
        "Number of times to retry a version that failed to load.",
    )
    group.number(
        "load_retry_interval_seconds",
        60.0,
        "Seconds to wait before a version is retried.",
    )
    group.boolean(
        "enable_model_warmup",
        True,
        "Replay the warm-up requests of a version before it answers.",
    )
    group.integer(
        "num_request_iterations_for_warmup",
        1,
        "Number of times to replay each warm-up request.",
    )
    group.boolean(
        "allow_version_labels_for_unavailable_models",
        False,
        "Allow a new configuration to label versions that are not loaded yet.",
    )
    group = flags.Group("Addresses")
    group.integer("rest_api_port", 8501, "Port of the REST API; 0 for none.")
    group.integer("port", 8500, "Port of the gRPC API; 0 for none.")
    group.integer(
        "rest_api_timeout_in_ms",
        30_000,
        "Timeout of a REST request, in milliseconds.",
    )
    group.integer(
        "rest_api_num_threads",
        0,
        "Number of REST requests that run at a time; 0 for two per "
        "core, or two full batches with --enable_batching.",
    )
    group.integer(
        "grpc_max_threads",
        0,
        "Number of gRPC calls that run at a time; 0 for two per "
        "core, or two full batches with --enable_batching.",
    )
    group.boolean(
        "enable_grpc_healthcheck_service",
        False,
        "Offer gRPC health checks.",
    )
    group = flags.Group("Batching")
    group.boolean(
        "enable_batching",
        False,
        "Run concurrent requests through the model as one batch.",
    )
    group.string(
        "batching_parameters_file",
        "",
        "Text file with BatchingParameters: batch size, longest wait. "
        "Default: the defaults of TensorFlow Serving.",
    )
    group.boolean(
        "enable_per_model_batching_parameters",
        False,
        "Read the parameters of a version from batching_params.pbtxt in its "
        "folder, if present.",
    )
    group = flags.Group("Limits and access (of this server only)")
    group.string("host", "127.0.0.1", "Address of this machine to listen on.")
    group.integer(
        "max_body_bytes", 64 << 20, "Largest size of a request, in bytes."
    )
    group.integer(
        "max_text_bytes",
        1 << 18,
        "Largest size of a text in a request, in bytes; longer texts are "
        "refused (400, INVALID_ARGUMENT); 0 for no limit.",
    )
    group.integer(
        "max_connections",
        512,
        "Largest number of open REST connections.",
    )
    group.number(
        "read_timeout_seconds",
        30.0,
        "Timeout for reading a request, in seconds.",
    )
    group.number(
        "grace_seconds",
        30.0,
        "Seconds for running requests to finish after SIGTERM or Ctrl-C.",
    )
    group.string(
        "ssl_certificate_file",
        "",
        "PEM file with the certificate, for TLS on both ports. Default: no "
        "TLS.",
    )
    group.string(
        "ssl_key_file",
        "",
        "PEM file with the key of the certificate. Default: no TLS.",
    )
    group.string(
        "api_key_file",
        "",
        "File with the API key in its first line. Clients send it in the "
        "header x-api-key or as a bearer token. Default: the environment "
        f"variable {KEY_VARIABLE}; if it is empty, no key is needed.",
    )


def main() -> int:
    """Serves until SIGTERM or Ctrl-C."""
    set_up_logging()
    # Imported here, because it needs an extra of the package.
    try:
        from tfllm.server.lifecycle import Server
    except ModuleNotFoundError as error:
        raise ImportError(
            "the server needs the extra `serving`. Received: "
            f"{error}. Run: pip install 'tfllm[serving]'"
        ) from error
    server = Server(settings())
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    server.start()
    print(_addresses(server), flush=True)
    stopping.wait()
    logger.info("stopping")
    if not server.stop():
        logger.warning("requests were cut off")
        return 1
    return 0


def set_up_logging() -> None:
    """Shows the messages of tfllm on standard error, with the time."""
    # It logs a traceback for any malformed bytes of a client.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False


def _addresses(server: "Server") -> str:
    """Returns one line with the addresses of the server."""
    scheme = "https" if FLAGS.ssl_certificate_file else "http"
    host = f"[{FLAGS.host}]" if ":" in FLAGS.host else FLAGS.host
    parts = []
    if server.rest_port:
        parts.append(f"REST at {scheme}://{host}:{server.rest_port}/")
    if server.grpc_port:
        parts.append(f"gRPC at {host}:{server.grpc_port}")
    return ", ".join(parts)


def settings() -> "ServerSettings":
    """Returns the settings of the server.

    Raises:
        ValueError: Flags contradict each other.
    """
    from tfllm.server.http_messages import Limits
    from tfllm.server.settings import ServerSettings

    config = _models()
    if not FLAGS.port and not FLAGS.rest_api_port:
        raise ValueError("`port` or `rest_api_port` must be set. Received: 0")
    for name in ("port", "rest_api_port"):
        if FLAGS[name].value > 65535:
            raise ValueError(
                f"`{name}` must be at most 65535. Received: {FLAGS[name].value}"
            )
    return ServerSettings(
        config=config,
        host=FLAGS.host,
        port=FLAGS.port or None,
        rest_api_port=FLAGS.rest_api_port or None,
        rest_timeout_seconds=FLAGS.rest_api_timeout_in_ms / 1000,
        rest_threads=FLAGS.rest_api_num_threads,
        grpc_threads=FLAGS.grpc_max_threads,
        batching=_batching(),
        per_model_batching=FLAGS.enable_per_model_batching_parameters,
        warm_up=FLAGS.enable_model_warmup,
        warm_up_iterations=FLAGS.num_request_iterations_for_warmup,
        poll_seconds=FLAGS.file_system_poll_wait_seconds,
        max_load_retries=FLAGS.max_num_load_retries,
        load_retry_seconds=FLAGS.load_retry_interval_seconds,
        allow_unavailable_labels=(
            FLAGS.allow_version_labels_for_unavailable_models
        ),
        health_service=FLAGS.enable_grpc_healthcheck_service,
        limits=Limits(
            body_bytes=FLAGS.max_body_bytes,
            connections=FLAGS.max_connections,
            read_seconds=FLAGS.read_timeout_seconds,
        ),
        max_text_bytes=FLAGS.max_text_bytes or None,
        tls=_tls(),
        api_key=_api_key(),
        grace_seconds=FLAGS.grace_seconds,
    )


def _models() -> "ModelServerConfig":
    """Returns the models to serve.

    Raises:
        ValueError: No flag names models, both do, or a folder is missing.
    """
    from tfllm.server import model_config

    if bool(FLAGS.model_base_path) == bool(FLAGS.model_config_file):
        raise ValueError(
            "give one of `model_base_path` and `model_config_file`. Received: "
            f"{FLAGS.model_base_path!r} and {FLAGS.model_config_file!r}"
        )
    if FLAGS.model_config_file:
        config = model_config.read(FLAGS.model_config_file)
    else:
        config = model_config.single(FLAGS.model_name, FLAGS.model_base_path)
    for model in config.model_config_list.config:
        if not os.path.isdir(model.base_path):
            raise ValueError(
                "`model_base_path` must be a folder. Received: "
                f"{model.base_path} of {model.name}. Write a version into it "
                "with python -m tfllm.export."
            )
    return config


def _batching() -> "BatchingConfig | None":
    """Returns how requests are batched; None for no batching.

    Raises:
        ValueError: There are parameters without `enable_batching`.
    """
    from tfllm.server import batching_config
    from tfllm.server.batching_config import BatchingConfig

    if FLAGS.enable_batching:
        if FLAGS.batching_parameters_file:
            return batching_config.read(FLAGS.batching_parameters_file)
        return BatchingConfig()
    if (
        FLAGS.batching_parameters_file
        or FLAGS.enable_per_model_batching_parameters
    ):
        raise ValueError(
            "batching parameters need `enable_batching`. Received: without it"
        )
    return None


def _tls() -> "Tls | None":
    """Returns the certificate and its key; None for no TLS.

    Raises:
        ValueError: One of them is missing.
    """
    from tfllm.server.settings import Tls

    if bool(FLAGS.ssl_certificate_file) != bool(FLAGS.ssl_key_file):
        raise ValueError(
            "`ssl_certificate_file` and `ssl_key_file` go together. Received: "
            f"{FLAGS.ssl_certificate_file!r} and {FLAGS.ssl_key_file!r}"
        )
    if not FLAGS.ssl_certificate_file:
        return None
    return Tls(FLAGS.ssl_certificate_file, FLAGS.ssl_key_file)


def _api_key() -> str:
    """Returns the API key; "" if clients need none."""
    if not FLAGS.api_key_file:
        return os.environ.get(KEY_VARIABLE, "")
    with open(FLAGS.api_key_file, encoding="utf-8") as file:
        key = file.readline().strip()
    if not key:
        raise ValueError(
            "`api_key_file` must hold a key in its first line. Received: "
            f"{FLAGS.api_key_file}, without one"
        )
    return key


if __name__ == "__main__":
    flags.parse(define)
    flags.run(main)
