"""Loads, warms up, swaps and unloads the versions of all models.

A new version is loaded while the old one answers; the old one is unloaded only
once the new one is AVAILABLE. A version that fails to load is refused until its
files change.

Reference: tensorflow/serving 2.20, core/availability_preserving_policy.cc,
model_servers/server_core.cc.
"""

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from tfllm.runtime.saved_model_file import SAVED_MODEL_FILE
from tfllm.server import model_config
from tfllm.server.protos import ModelConfig, ModelServerConfig
from tfllm.server.servable import Servable
from tfllm.server.statuses import ServingError, invalid_argument

logger = logging.getLogger(__name__)

START, LOADING, AVAILABLE = "START", "LOADING", "AVAILABLE"
UNLOADING, END = "UNLOADING", "END"

# Name of the model, number, folder -> a version that is warmed up.
Loader = Callable[[str, int, str], Servable]
_Stamp = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Target:
    """Model and version that a request names.

    Attributes:
        name: Model name.
        number: Version number; None for the newest version.
        label: Version label; "" without one.
    """

    name: str
    number: int | None = None
    label: str = ""


@dataclasses.dataclass
class Version:
    """State of a version.

    Attributes:
        folder: Folder of the version.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: Reason of a refusal.
        servable: Loaded version; None while it cannot answer.
        users: Number of requests that it answers now.
        stamp: Sizes and times of the refused files.
        attempts: Number of refusals.
        retry_at: Time of the next try; 0 to wait until its files change.
    """

    folder: str
    state: str = START
    error: ServingError | None = None
    servable: Servable | None = None
    users: int = 0
    stamp: _Stamp = ()
    attempts: int = 0
    retry_at: float = 0.0


class ModelVersions:
    """All models of a server.

    Args:
        config: The models.
        loader: Loads and warms up a version.
        max_retries: Number of retries of a refused version.
        retry_seconds: Seconds between two tries.
    """

    def __init__(
        self,
        config: ModelServerConfig,
        loader: Loader,
        max_retries: int = 0,
        retry_seconds: float = 60.0,
    ) -> None:
        self._loader = loader
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        # Held while the table below is read or changed.
        self._lock = threading.Lock()
        # Held while a thread loads or unloads versions.
        self._poll_lock = threading.Lock()
        self._models: dict[str, dict[int, Version]] = {}
        self._configs: dict[str, ModelConfig] = {}
        self._set_config(config)

    def _set_config(self, config: ModelServerConfig) -> None:
        with self._lock:
            self._configs = {
                model.name: model for model in config.model_config_list.config
            }
            for name in self._configs:
                self._models.setdefault(name, {})

    @property
    def names(self) -> list[str]:
        """Names of the configured models."""
        with self._lock:
            return sorted(self._configs)

    @contextlib.contextmanager
    def use(self, target: Target) -> Iterator[Servable]:
        """Yields a version and keeps it loaded within the block.

        Raises:
            ServingError: The version does not exist, or is not loaded yet.
        """
        with self._lock:
            version = self._find(target)
            version.users += 1
        assert version.servable is not None
        try:
            yield version.servable
        finally:
            with self._lock:
                version.users -= 1

    def _find(self, target: Target) -> Version:
        """Returns the version that answers a request."""
        number = self._labelled(target) if target.label else target.number
        available = {
            n: version
            for n, version in self._models.get(target.name, {}).items()
            if version.state == AVAILABLE
        }
        if number is None and available:
            number = max(available)
        if number not in available:
            request = (
                f"Latest({target.name})"
                if number is None
                else f"Specific({target.name}, {number})"
            )
            raise ServingError(
                "NOT_FOUND", f"Servable not found for request: {request}"
            )
        return available[number]

    def _labelled(self, target: Target) -> int:
        """Returns the version number of a label."""
        config = self._configs.get(target.name)
        if config is None or target.label not in config.version_labels:
            raise invalid_argument(
                f"Unrecognized servable version label: {target.label}"
            )
        return config.version_labels[target.label]

    def states(
        self, target: Target
    ) -> list[tuple[int, str, ServingError | None]]:
        """Returns number, state and error of versions, newest first.

        Raises:
            ServingError: The model has no such version.
        """
        with self._lock:
            number = self._labelled(target) if target.label else target.number
            states = [
                (n, version.state, version.error)
                for n, version in self._models.get(target.name, {}).items()
                if number in (None, n)
            ]
        if not states:
            raise ServingError(
                "NOT_FOUND",
                f"Could not find any versions of model {target.name}"
                if number is None
                else f"Could not find version {number} of model {target.name}",
            )
        return sorted(states, reverse=True, key=lambda state: state[0])

    def unavailable(self) -> dict[str, list[ServingError]]:
        """Returns the models without an available version, and the reasons."""
        with self._lock:
            return {
                name: [v.error for v in self._models[name].values() if v.error]
                for name in self._configs
                if not any(
                    v.state == AVAILABLE for v in self._models[name].values()
                )
            }

    def reload(
        self, config: ModelServerConfig, allow_unavailable_labels: bool = False
    ) -> None:
        """Replaces all models, and waits until they are loaded.

        Args:
            config: The models.
            allow_unavailable_labels: Allow labels of versions that are not
                loaded.

        Raises:
            ServingError: The config is not valid, a model cannot be loaded, or
                a label names a version that is not loaded.
        """
        model_config.check(config)
        self._set_config(config)
        self.poll()
        for name, errors in self.unavailable().items():
            words = [error.message for error in errors] or ["no version"]
            raise ServingError(
                "UNKNOWN",
                f"servable {name} did not become available: {words[0]}",
            )
        if not allow_unavailable_labels:
            self._check_labels()

    def _check_labels(self) -> None:
        """Refuses labels of versions that are not loaded, and drops them."""
        with self._lock:
            wrong = [
                (name, label, number)
                for name, config in self._configs.items()
                for label, number in config.version_labels.items()
                if number not in self._models[name]
                or self._models[name][number].state != AVAILABLE
            ]
            for name, label, _ in wrong:
                del self._configs[name].version_labels[label]
        for name, _, number in wrong:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"Request to assign label to version {number} of model "
                f"{name}, which is not currently available for inference",
            )

    def poll(self) -> None:
        """Reads the folders once; loads new versions and unloads old ones."""
        with self._poll_lock:
            with self._lock:
                configs = dict(self._configs)
                gone = set(self._models) - set(configs)
            for name, config in configs.items():
                self._poll_model(name, config)
            for name in gone:
                self._unload(name, set())
                with self._lock:
                    states = {v.state for v in self._models[name].values()}
                    if states <= {END}:
                        del self._models[name]

    def _poll_model(self, name: str, config: ModelConfig) -> None:
        try:
            folders = model_config.versions_in(config.base_path)
        except OSError as error:
            # A file system may be gone for a while: nothing is unloaded.
            logger.warning("%s: %s", config.base_path, error.strerror)
            self._unload(name, None)
            return
        aspired = model_config.aspired(config, folders)
        for number in aspired:
            self._load(name, number, folders[number])
        self._unload(name, set(aspired))
        if config.model_version_policy.WhichOneof("policy_choice") in (
            None,
            "latest",
        ):
            # NOTE: TensorFlow Serving would serve nothing after a restart
            # beside a damaged newest version; here an older one answers.
            older = sorted(n for n in folders if n not in aspired)
            while older and not self._answers(name):
                self._load(name, older[-1], folders[older.pop()])

    def _answers(self, name: str) -> bool:
        """Whether any version of a model is available."""
        with self._lock:
            versions = self._models[name].values()
            return any(version.state == AVAILABLE for version in versions)

    def _load(self, name: str, number: int, folder: str) -> None:
        """Loads a version, unless it is loaded or was refused."""
        with self._lock:
            version = self._models[name].setdefault(number, Version(folder))
            if version.state not in (START, END):
                return
            stamp = _stamp(folder)
            if version.error is not None:
                retry = version.retry_at and time.monotonic() > version.retry_at
                if stamp == version.stamp and not retry:
                    return
                if stamp != version.stamp:
                    version.attempts = 0
            version.folder, version.stamp = folder, stamp
            version.state, version.error = LOADING, None
        logger.info("loading version %d of %s", number, name)
        start = time.perf_counter()
        try:
            servable = self._loader(name, number, folder)
        except ServingError as error:
            self._refuse(name, number, version, error)
            return
        except Exception as error:
            logger.exception("version %d of %s", number, name)
            self._refuse(
                name, number, version, ServingError("INTERNAL", str(error))
            )
            return
        with self._lock:
            version.servable, version.state = servable, AVAILABLE
            version.attempts = 0
        logger.info(
            "version %d of %s is available after %.1f s",
            number,
            name,
            time.perf_counter() - start,
        )

    def _refuse(
        self, name: str, number: int, version: Version, error: ServingError
    ) -> None:
        with self._lock:
            version.state, version.error = END, error
            version.attempts += 1
            version.retry_at = (
                time.monotonic() + self._retry_seconds
                if version.attempts <= self._max_retries
                else 0.0
            )
        logger.error(
            "version %d of %s is refused: %s", number, name, error.message
        )

    def _unload(self, name: str, keep: set[int] | None) -> None:
        """Frees versions that are neither kept nor in use.

        Args:
            name: Model name.
            keep: Numbers to keep; None keeps all that are not unloading.
        """
        with self._lock:
            versions = self._models[name]
            may_unload = not keep or any(
                n in keep and version.state == AVAILABLE
                for n, version in versions.items()
            )
            for n, version in versions.items():
                if (
                    keep is not None
                    and n not in keep
                    and version.state == AVAILABLE
                    and may_unload
                ):
                    version.state = UNLOADING
            done = [
                (n, version)
                for n, version in versions.items()
                if version.state == UNLOADING and not version.users
            ]
        for number, version in done:
            assert version.servable is not None
            version.servable.close()
            with self._lock:
                version.servable, version.state = None, END
            logger.info("version %d of %s is unloaded", number, name)

    def close(self) -> None:
        """Unloads all versions that are not in use."""
        with self._poll_lock, self._lock:
            loaded = [
                version
                for versions in self._models.values()
                for version in versions.values()
                if version.servable is not None and not version.users
            ]
            for version in loaded:
                version.state = UNLOADING
        for version in loaded:
            assert version.servable is not None
            version.servable.close()
            with self._lock:
                version.servable, version.state = None, END


def _stamp(folder: str) -> _Stamp:
    """Returns sizes and times of the files of a version."""
    stamps = []
    for name in ("", SAVED_MODEL_FILE, "variables", "assets.extra"):
        with contextlib.suppress(OSError):
            status = os.stat(os.path.join(folder, name))
            stamps.append((status.st_size, status.st_mtime_ns))
    return tuple(stamps)
