"""Which models are served from where: TensorFlow Serving's ModelServerConfig.

Reference: tensorflow/serving 2.20, config/model_server_config.proto and
sources/storage_path/file_system_storage_path_source.cc.
"""

import os
import re

from google.protobuf import text_format

from tfllm.serving.server.protos import ModelConfig, ModelServerConfig
from tfllm.serving.server.statuses import ServingError, invalid_argument

PLATFORM = "tensorflow"
_MOST_VERSION = 2**63 - 1


def single(name: str, base_path: str) -> ModelServerConfig:
    """Returns the config of one model."""
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=base_path, model_platform=PLATFORM
    )
    return config


def read(path: str) -> ModelServerConfig:
    """Reads a text file of a ModelServerConfig.

    Raises:
        ValueError: It is none, or what it says cannot be served.
        OSError: It cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        config = text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(
            "`model_config_file` must be a text ModelServerConfig. Received: "
            f"{path}, {error}"
        ) from error
    try:
        check(config)
    except ServingError as error:
        raise ValueError(f"{path}: {error.message}") from error
    return config


def check(config: ModelServerConfig) -> None:
    """Checks that a config can be served.

    Raises:
        ServingError: A name comes twice, a path is missing, ...
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid_argument("custom_model_config is not supported")
    names: set[str] = set()
    for model in config.model_config_list.config:
        if not model.name:
            raise invalid_argument("ModelConfig does not have a name")
        if model.name in names:
            raise invalid_argument(f"Duplicate model name: {model.name}")
        names.add(model.name)
        if not model.base_path:
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path; "
                "got base_path()="
            )
        if model.model_platform not in ("", PLATFORM):
            raise invalid_argument(
                f"ModelConfig {model.name} has the model platform "
                f"{model.model_platform!r}; only {PLATFORM!r} is supported"
            )


def versions_in(base_path: str) -> dict[int, str]:
    """Returns number -> folder of the versions under a base path.

    Raises:
        OSError: The folder cannot be read.
    """
    found: dict[int, str] = {}
    with os.scandir(base_path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if (
                re.fullmatch(r"[0-9]+", entry.name)
                and int(entry.name) <= _MOST_VERSION
                and entry.is_dir()
            ):
                found.setdefault(int(entry.name), entry.path)
    return found


def aspired(model: ModelConfig, versions: dict[int, str]) -> list[int]:
    """Returns the versions that the policy asks for, in rising order.

    Args:
        model: With the policy; the newest version without one.
        versions: Those that there are.
    """
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    numbers = sorted(versions)
    if kind == "all":
        return numbers
    if kind == "specific":
        return [n for n in numbers if n in set(policy.specific.versions)]
    count = policy.latest.num_versions if kind == "latest" else 1
    return numbers[-(count or 1) :]
