"""Serves exported models with TensorFlow Serving's REST and gRPC API.

    python -m tfllm.serve --model_base_path=exports/bert --model_name=bert

For development and small loads; production is TensorFlow Serving, which takes
the same folders, requests and flags of the first three groups below. Every
folder BASE/<number> is a version; the newest one answers, and a new one takes
over without a failed request. http://127.0.0.1:8501/ tries the models out.
"""

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from absl import flags as absl_flags

from tfllm import flags

if TYPE_CHECKING:
    from tfllm.serving.server.lifecycle import Server
    from tfllm.serving.server.settings import ServerSettings

FLAGS = absl_flags.FLAGS
logger = logging.getLogger("tfllm")
KEY_VARIABLE = "TFLLM_API_KEY"


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Models")
    group.string("model_base_path", "", "Folder with one folder per version.")
    group.string("model_name", "default", "Name of the model in requests.")
    group.string(
        "model_config_file",
        "",
        "Text ModelServerConfig: several models, policies, labels.",
    )
    group.number(
        "file_system_poll_wait_seconds", 1.0, "Time between looks; 0: once."
    )
    group.integer("max_num_load_retries", 0, "For a refused version.")
    group.number("load_retry_interval_seconds", 60.0, "Between them.")
    group.boolean("enable_model_warmup", True, "Replay warm-up requests.")
    group.integer("num_request_iterations_for_warmup", 1, "Of each request.")
    group.boolean(
        "allow_version_labels_for_unavailable_models", False, "In reloads."
    )
    group = flags.Group("Addresses")
    group.integer("port", 8500, "Of gRPC; 0: none.")
    group.integer("rest_api_port", 8501, "Of REST; 0: none.")
    group.integer("rest_api_timeout_in_ms", 30_000, "Of a REST request.")
    group.integer(
        "rest_api_num_threads",
        0,
        "Requests at a time; 0: 2 per core, or 2 batches.",
    )
    group.integer("grpc_max_threads", 0, "Of gRPC, likewise.")
    group.boolean("enable_grpc_healthcheck_service", False, "Health checks.")
    group = flags.Group("Batching")
    group.boolean("enable_batching", False, "Merge concurrent requests.")
    group.string("batching_parameters_file", "", "Text BatchingParameters.")
    group.boolean(
        "enable_per_model_batching_parameters",
        False,
        "Versions bring batching_params.pbtxt.",
    )
    group = flags.Group("Limits and access (of this server only)")
    group.string("host", "127.0.0.1", "Address to listen on.")
    group.integer("max_body_bytes", 64 << 20, "Of a request.")
    group.integer("max_connections", 512, "REST connections at once.")
    group.number("read_timeout_seconds", 30.0, "For a request to arrive.")
    group.number("grace_seconds", 30.0, "For requests after SIGTERM.")
    group.string("ssl_certificate_file", "", "PEM, for TLS on both ports.")
    group.string("ssl_key_file", "", "PEM, its key.")
    group.string(
        "api_key_file",
        "",
        "Its first line must come with requests, as x-api-key or bearer "
        f"token; or set {KEY_VARIABLE}.",
    )


def main() -> int:
    """Serves until a signal comes."""
    set_up_logging()
    # Only here: the stubs are an extra of the package.
    from tfllm.serving.server.lifecycle import Server

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
    # It logs a traceback for whatever bytes a client sends.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False


def _addresses(server: "Server") -> str:
    """Returns the line that says where it listens."""
    scheme = "https" if FLAGS.ssl_certificate_file else "http"
    host = f"[{FLAGS.host}]" if ":" in FLAGS.host else FLAGS.host
    parts = []
    if server.rest_port:
        parts.append(f"REST at {scheme}://{host}:{server.rest_port}/")
    if server.grpc_port:
        parts.append(f"gRPC at {host}:{server.grpc_port}")
    return ", ".join(parts)


def settings() -> "ServerSettings":
    """Returns what the flags say.

    Raises:
        ValueError: Flags contradict each other.
    """
    from tfllm.serving.server import batching_config, model_config
    from tfllm.serving.server.batching_config import BatchingConfig
    from tfllm.serving.server.http_messages import Limits
    from tfllm.serving.server.settings import ServerSettings, Tls

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
    if not FLAGS.port and not FLAGS.rest_api_port:
        raise ValueError("`port` or `rest_api_port` must be set. Received: 0")
    for name in ("port", "rest_api_port"):
        if FLAGS[name].value > 65535:
            raise ValueError(
                f"`{name}` must be at most 65535. Received: {FLAGS[name].value}"
            )
    batching = None
    if FLAGS.enable_batching:
        batching = BatchingConfig()
        if FLAGS.batching_parameters_file:
            batching = batching_config.read(FLAGS.batching_parameters_file)
    elif (
        FLAGS.batching_parameters_file
        or FLAGS.enable_per_model_batching_parameters
    ):
        raise ValueError(
            "batching parameters need `enable_batching`. Received: without it"
        )
    if bool(FLAGS.ssl_certificate_file) != bool(FLAGS.ssl_key_file):
        raise ValueError(
            "`ssl_certificate_file` and `ssl_key_file` go together. Received: "
            f"{FLAGS.ssl_certificate_file!r} and {FLAGS.ssl_key_file!r}"
        )
    tls = None
    if FLAGS.ssl_certificate_file:
        tls = Tls(FLAGS.ssl_certificate_file, FLAGS.ssl_key_file)
    return ServerSettings(
        config=config,
        host=FLAGS.host,
        port=FLAGS.port or None,
        rest_api_port=FLAGS.rest_api_port or None,
        rest_timeout_seconds=FLAGS.rest_api_timeout_in_ms / 1000,
        rest_threads=FLAGS.rest_api_num_threads,
        grpc_threads=FLAGS.grpc_max_threads,
        batching=batching,
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
        tls=tls,
        api_key=_api_key(),
        grace_seconds=FLAGS.grace_seconds,
    )


def _api_key() -> str:
    """Returns the key that clients must send, "" for none."""
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
    define()
    flags.run(main)
