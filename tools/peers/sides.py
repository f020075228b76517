"""The libraries to compare: how to install and start each."""

import dataclasses
import pathlib
from collections.abc import Mapping

from tools.peers.protocol import Work

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

_ALL = {
    "mlm": ("bert", "albert"),
    "finetune": ("bert",),
    "clm": ("gpt2", "llama"),
    "seq2seq": ("t5",),
    "generate": ("gpt2", "llama", "t5", "marian"),
}


@dataclasses.dataclass(frozen=True)
class SideSpec:
    """A library in the benchmark.

    Args:
        name: Name in `--side`, and folder of its environment.
        module: Side file, run with `python -m`.
        requirements: Packages that pip installs into its environment.
        variants: Settings to try, the library's default first.
        families: Kind of work -> families that the library has for it.
    """

    name: str
    module: str
    requirements: tuple[str, ...]
    variants: tuple[str, ...]
    families: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: _ALL
    )

    def supports(self, work: Work) -> bool:
        """Returns whether the library has the model and the kind of step."""
        return work.family in self.families.get(work.kind, ())


OURS = "tfllm"

SIDES = {
    spec.name: spec
    for spec in (
        SideSpec(
            name=OURS,
            module="tools.peers.tfllm_side",
            requirements=("--editable", f"{REPOSITORY}[serving]"),
            variants=("no_jit", "jit"),
        ),
        SideSpec(
            name="transformers",
            module="tools.peers.transformers_side",
            requirements=(
                "torch==2.13.0",
                "transformers==5.23.0",
                "numpy",
                # For the serving benchmark.
                "fastapi==0.165.0",
                "uvicorn[standard]==0.54.0",
            ),
            variants=("sdpa", "eager"),
        ),
        SideSpec(
            name="keras_hub",
            module="tools.peers.keras_hub_side",
            requirements=(
                "keras-hub==0.32.0",
                "keras==3.15.*",
                "tensorflow~=2.20.0",
            ),
            variants=("auto", "jit"),
            # It has T5 as an encoder-decoder without a task, and no Marian.
            families={**_ALL, "seq2seq": (), "generate": ("gpt2", "llama")},
        ),
        SideSpec(
            name="official",
            module="tools.peers.official_side",
            requirements=("tf-models-official==2.20.*", "tf_keras"),
            variants=("no_jit", "jit"),
            # Its causal models are not among its official models.
            families={"mlm": ("bert",)},
        ),
    )
}
