"""Text generation on token ids: decoding loops, samplers, their config.

Importing the package does not import TensorFlow; `tfllm.generation.generate`
does.
"""

from tfllm.generation.config import GENERATION_CONFIG_FILE, GenerationConfig

__all__ = ["GENERATION_CONFIG_FILE", "GenerationConfig"]
