"""TensorFlow Serving's ModelServerConfig: models, folders, versions.

Reference: tensorflow/serving 2.20, config/model_server_config.proto and
sources/storage_path/file_system_storage_path_source.cc.
"""

import os
import re

from tfllm.server.protos import ModelConfig, ModelServerConfig
from tfllm.server.statuses import ServingError, invalid_argument
from tfllm.server.text_messages import read_message

PLATFORM = "tensorflow"
MAX_VERSION = 2**63 - 1


def single(name: str, base_path: str) -> ModelServerConfig:
    """Returns the config of one model."""
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=base_path, model_platform=PLATFORM
    )
    return config


def read(path: str) -> ModelServerConfig:
    """Reads a ModelServerConfig from a text file.

    Raises:
        ValueError: The file is not valid, or its models cannot be served.
        OSError: The file cannot be read.
    """
    config = read_message(path, ModelServerConfig(), "model_config_file")
    try:
        check(config)
    except ServingError as error:
        raise ValueError(f"{path}: {error.message}") from error
    return config


def check(config: ModelServerConfig) -> None:
    """Checks a config.

    Raises:
        ServingError: A name is repeated, a path is missing, ...
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
    """Returns the versions under a base path: number -> folder.

    Raises:
        OSError: The folder cannot be read.
    """
    folders: dict[int, str] = {}
    with os.scandir(base_path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if (
                re.fullmatch(r"[0-9]+", entry.name)
                and int(entry.name) <= MAX_VERSION
                and entry.is_dir()
            ):
                folders.setdefault(int(entry.name), entry.path)
    return folders


def aspired(model: ModelConfig, versions: dict[int, str]) -> list[int]:
    """Returns the versions that the policy selects, in rising order.

    Args:
        model: Config with the policy; without one, the newest version.
        versions: Available versions.
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
