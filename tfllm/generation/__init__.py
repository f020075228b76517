"""Token ids in, token ids out; knows no text."""

from tfllm.generation.config import GENERATION_CONFIG_FILE, GenerationConfig
from tfllm.generation.generate import GenerationOutput, generate

__all__ = [
    "GENERATION_CONFIG_FILE",
    "GenerationConfig",
    "GenerationOutput",
    "generate",
]
