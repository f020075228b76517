"""Training methods: one file each, with its options and its hooks.

The options of a method are the fields of its dataclass. No other code names
them: `tfllm.learning.method_options` turns them into flags, arguments of
`compile` and the section `methods` of run.json.
"""

from tfllm.learning.methods.adversarial import Adversarial
from tfllm.learning.methods.method import Method
from tfllm.learning.methods.r_drop import RDrop

__all__ = ["METHODS", "Adversarial", "Method", "RDrop"]

# Name -> class, in the order in which hooks are called.
METHODS: dict[str, type[Method]] = {
    "adversarial": Adversarial,
    "r_drop": RDrop,
}
