"""Config of an export, without TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from tfllm import file_access
from tfllm.runtime import servers

Precision = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "int8"]
PRECISIONS = ("float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "int8")
FLAG = "evaluation_files"


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Settings of the exported signatures.

    Attributes:
        seq_length: Longest row in tokens; 0 for the model's maximum.
        stride: Tokens from one window of a long text to the next; 0 for the
            stride of `tfllm.predict`. In the settings that `as_in_run`
            returns, 0 cuts texts.
        question_length: Most tokens of a question; 0 for the run's setting.
        top_k: Candidates for each mask. For text generation: number of tokens
            that sampling draws from, 0 for all.
        max_new_tokens: Most tokens to generate; 0 for the model folder's
            setting.
        pairs: Whether a request holds two texts.
    """

    seq_length: int = 0
    stride: int = 0
    question_length: int = 0
    top_k: int = 0
    max_new_tokens: int = 0
    pairs: bool = False


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out files that an export is measured on.

    Attributes:
        files: Comma-separated globs. Empty for the run's evaluation files, if
            weights lose precision and the files still exist.
        settings: How the files are read, where it differs from the run.
    """

    files: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def files_of(self, run: Mapping[str, Any], is_smaller: bool) -> str:
        """Returns the globs of the files to read; empty for none.

        Args:
            run: Settings of the run that trained the task.
            is_smaller: Whether weights lose precision.
        """
        if self.files or not is_smaller:
            return self.files
        files = run.get("eval_files") or ""
        try:
            file_access.match_files(files, FLAG)
        except ValueError:  # the files are gone
            return ""
        return files


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Config of an export.

    Attributes:
        model_dir: Model folder or hub id.
        export_dir: Folder of the served model, BASE.
        version: Version number; 0 for the next one.
        min_server: Oldest TensorFlow Serving that must load the export.
        precision: Dtype of the weights on disk.
        quantize: "int8" for matrices and tables on disk, or "none".
        settings: Settings of the signatures.
        held_out: Held-out files that the export is measured on.
    """

    model_dir: str
    export_dir: str
    version: int = 0
    min_server: str = servers.OLDEST
    precision: Precision = "float32"
    quantize: Quantization = "none"
    settings: ExportSettings = ExportSettings()
    held_out: HeldOut = HeldOut()

    @property
    def is_smaller(self) -> bool:
        """Whether weights lose precision."""
        return (self.precision, self.quantize) != ("float32", "none")

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("model_dir", "export_dir"):
            if not getattr(self, name):
                raise ValueError(f"`{name}` is needed. Received: nothing")
        servers.parse(self.min_server)
        for name, choices in (
            ("precision", PRECISIONS),
            ("quantize", QUANTIZATIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(choices)}. "
                    f"Received: {getattr(self, name)!r}"
                )
