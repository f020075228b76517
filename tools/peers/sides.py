"""The libraries that are compared: how to install and how to start each."""

import dataclasses
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class SideSpec:
    """One library.

    Args:
        name: as in `--side`, and the folder of its environment.
        module: its side file, run with `python -m`.
        requirements: what pip installs into its environment.
        variants: settings to try, the library's default first.
        kinds: kinds of work that the library can do.
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
                # What serves it.
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
            # Its causal models are no part of what it calls official.
            kinds=("mlm",),
        ),
    )
}
