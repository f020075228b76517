"""Language models for TensorFlow: from raw text to a served model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfllm.pipelines import pipeline

__version__ = "0.1.0"
__all__ = ["pipeline"]


def __getattr__(name: str) -> Any:
    """Imports what needs TensorFlow when it is asked for."""
    if name == "pipeline":
        from tfllm.pipelines import pipeline

        return pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
