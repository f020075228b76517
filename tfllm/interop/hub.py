"""Fetches models of the Hugging Face hub by their ids."""

import logging
import pathlib
import re

from tfllm.interop import folder_tensors

logger = logging.getLogger(__name__)

# `organisation/name`, or for old models the name alone.
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)

# Configs and tokenizers, weights, vocabularies.
_PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.txt", "*.model"]
_GGUF = ".gguf"
# Weights of older models. They are fetched if there are no others.
_TORCH_PATTERN = "pytorch_model*.bin"


def may_be_hub_id(name: str) -> bool:
    """Returns whether a name has the form of a hub id."""
    return _HUB_ID.fullmatch(name) is not None


def split_revision(name: str) -> tuple[str, str | None]:
    """Returns the hub id and the revision of `id@revision`."""
    hub_id, _, revision = name.partition("@")
    return hub_id, revision or None


def fetch(hub_id: str, revision: str | None = None) -> pathlib.Path:
    """Downloads a model of the hub, or finds it in the local cache.

    huggingface_hub asks the hub for newer files unless `HF_HUB_OFFLINE` is
    set or the hub cannot be reached.

    Args:
        hub_id: `organisation/name`, or a short name such as `gpt2`.
        revision: Branch, tag or commit; None: the main branch.

    Returns:
        The local folder.

    Raises:
        ValueError: Neither the hub nor the cache has the model.
    """
    folder = _download(hub_id, revision, _PATTERNS)
    if not folder_tensors.has_tensors(folder):
        folder = _download(hub_id, revision, [*_PATTERNS, _TORCH_PATTERN])
    return folder


def _download(
    hub_id: str, revision: str | None, patterns: list[str]
) -> pathlib.Path:
    """Downloads the files of a model that match patterns; see `fetch`."""
    import huggingface_hub

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                hub_id, revision=revision, allow_patterns=patterns
            )
        )
    # Networks, proxies and servers raise many kinds of errors.
    except Exception as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ValueError(
            f"'{hub_id}' is neither a folder here nor a model that the "
            f"Hugging Face hub gives{at}. Received: {_reason(hub_id, error)}"
        ) from error


def split_gguf(name: str) -> tuple[str, str] | None:
    """Returns the hub id and the file of `organisation/name/file.gguf`.

    Returns:
        Both, or None if a name has another form. The file may be in a folder.
    """
    organisation, _, rest = name.partition("/")
    model, _, file = rest.partition("/")
    hub_id = f"{organisation}/{model}"
    is_file = file.endswith(_GGUF) and may_be_hub_id(hub_id)
    return (hub_id, file) if is_file else None


def gguf_files(hub_id: str, revision: str | None = None) -> list[str]:
    """Returns the sorted names of the GGUF files in a hub repository.

    Those of the local cache, if the hub cannot be reached.
    """
    import huggingface_hub

    try:
        names = huggingface_hub.list_repo_files(hub_id, revision=revision)
    # Networks, proxies and servers raise many kinds of errors.
    except Exception as error:
        logger.warning(
            "The hub does not list '%s', so only the cache is searched: %s",
            hub_id,
            _reason(hub_id, error),
        )
        try:
            folder = pathlib.Path(
                huggingface_hub.snapshot_download(
                    hub_id, revision=revision, local_files_only=True
                )
            )
        except Exception:
            return []
        names = [
            path.relative_to(folder).as_posix()
            for path in folder.rglob(f"*{_GGUF}")
        ]
    return sorted(name for name in names if name.endswith(_GGUF))


def fetch_gguf(
    hub_id: str, file: str | None = None, revision: str | None = None
) -> pathlib.Path:
    """Downloads a GGUF file of a model, or finds it in the local cache.

    Args:
        hub_id: `organisation/name`.
        file: Name of the file; None: the only one.
        revision: Branch, tag or commit; None: the main branch.

    Returns:
        The local file.

    Raises:
        ValueError: The model has no such file, or several and `file` is None;
            or neither the hub nor the cache has the model.
    """
    import huggingface_hub

    if file is None:
        files = gguf_files(hub_id, revision)
        if len(files) != 1:
            listed = ", ".join(f"{hub_id}/{name}" for name in files)
            raise ValueError(
                f"'{hub_id}' must have one GGUF file. Received: "
                f"{listed or 'none that the hub or the cache lists'}. Name the "
                f"file as {hub_id}/FILE{_GGUF}."
            )
        file = files[0]
    try:
        path = huggingface_hub.hf_hub_download(hub_id, file, revision=revision)
        return pathlib.Path(path)
    except Exception as error:
        others = ", ".join(gguf_files(hub_id, revision))
        known = f" Its GGUF files: {others}." if others else ""
        raise ValueError(
            f"'{hub_id}/{file}' is neither a file here nor one that the "
            f"Hugging Face hub gives. Received: {_reason(hub_id, error)}{known}"
        ) from error


def _reason(hub_id: str, error: Exception) -> str:
    """Returns in one line why the download failed, and the next step."""
    from huggingface_hub import errors

    # GatedRepoError is a RepositoryNotFoundError: it comes first.
    for kind, reason in (
        (
            errors.GatedRepoError,
            "the model is gated. Accept its terms on the hub, then log in "
            "with `hf auth login`.",
        ),
        (
            errors.RevisionNotFoundError,
            "the hub has the model, but not this `revision`.",
        ),
        (
            errors.RepositoryNotFoundError,
            "the hub has no model of this name that you may see. Check the "
            "name; for a private model, log in with `hf auth login`.",
        ),
        (
            errors.LocalEntryNotFoundError,
            "the hub was not reached, and the local cache has no copy."
            f"{_namesakes(hub_id)} Check the name and the connection.",
        ),
        # LocalEntryNotFoundError is one: it comes first.
        (errors.EntryNotFoundError, "the model has no such file."),
    ):
        if isinstance(error, kind):
            return reason
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the hub says: {lines[0]}"


def _namesakes(hub_id: str) -> str:
    """Returns a sentence that names cached models of the same short name."""
    from huggingface_hub import constants

    name = hub_id.rpartition("/")[2]
    cached = sorted(
        folder.name.removeprefix("models--").replace("--", "/")
        for folder in pathlib.Path(constants.HF_HUB_CACHE).glob("models--*")
    )
    same = [model for model in cached if model.rpartition("/")[2] == name]
    return f" It has {', '.join(same)}: give that name." if same else ""
