r"""Converts published checkpoints to a model folder, and back.

    python -m tools.convert_checkpoint --from=tf1_bert \
        --input=uncased_L-12_H-768_A-12 --output_dir=bert_base

TF1 checkpoints are those of google-research/bert: `bert_model.ckpt` with
`bert_config.json`, and `vocab.txt` which is taken along.
"""

from absl import flags as absl_flags

from tfllm import flags

# (from, to) -> name of the function in tfllm.interop.tf1_bert.
_CONVERSIONS = {
    ("tf1_bert", "model_folder"): "to_model_folder",
    ("model_folder", "tf1_bert"): "from_model_folder",
}

_FROM = absl_flags.DEFINE_enum(
    "from", "tf1_bert", ["tf1_bert", "model_folder"], "Layout of --input."
)
_TO = absl_flags.DEFINE_enum(
    "to", "model_folder", ["model_folder", "tf1_bert"], "Layout to write."
)
_INPUT = absl_flags.DEFINE_string(
    "input", None, "Folder of the checkpoint; a model folder may be a hub id."
)
_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir", None, "Folder to write; is made if missing."
)


def main() -> None:
    """Converts what the flags say."""
    for name, flag in (("input", _INPUT), ("output_dir", _OUTPUT_DIR)):
        if not flag.value:
            raise ValueError(
                f"`{name}` must name a folder. Received: nothing. "
                f"Add --{name}=FOLDER."
            )
    conversion = _CONVERSIONS.get((_FROM.value, _TO.value))
    if conversion is None:
        raise ValueError(
            "`from` and `to` must differ. "
            f"Received: {_FROM.value} and {_TO.value}."
        )
    # TensorFlow takes seconds to import: flags are checked before.
    from tfllm.interop import tf1_bert

    getattr(tf1_bert, conversion)(_INPUT.value, _OUTPUT_DIR.value)
    print(f"converted: {_OUTPUT_DIR.value}")


if __name__ == "__main__":
    flags.run(main)
