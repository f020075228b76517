"""The libraries to compare: how to install and start each."""

import dataclasses
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class SideSpec:
    """A library in the benchmark.

    Args:
        name: Name in `--side`, and folder of its environment.
        module: Side file, run with `python -m`.
        requirements: Packages that pip installs into its environment.
        variants: Settings to try, the library's default first.
        kinds: Kinds of work that the library supports.
    """

    name: str
    module: str
    requirements: tuple[str, ...]
    variants: tuple[str, ...]
    kinds: tuple[str, ...] = ("mlm", "clm", "finetune", "generate")


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
        ),
        SideSpec(
            name="official",
            module="tools.peers.official_side",
            requirements=("tf-models-official==2.20.*", "tf_keras"),
            variants=("no_jit", "jit"),
            # Its causal models are not among its official models.
            kinds=("mlm",),
        ),
    )
}
