r"""Converts TF1 checkpoints of BERT to model folders, and back.

    python -m tools.convert_checkpoint --from=tf1_bert \
        --input=uncased_L-12_H-768_A-12 --output_dir=bert_base

TF1 checkpoints are those of google-research/bert: `bert_model.ckpt`, or any
other name, with `bert_config.json` and `vocab.txt`, which is copied.
"""

from absl import flags as absl_flags

from tfllm.runs import flags

# (from, to) -> name of the function in tfllm.interop.tf1_bert.
_CONVERSIONS = {
    ("tf1_bert", "model_folder"): "to_model_folder",
    ("model_folder", "tf1_bert"): "from_model_folder",
}

_FROM = absl_flags.DEFINE_enum(
    "from",
    "tf1_bert",
    ["tf1_bert", "model_folder"],
    "Layout of --input: tf1_bert of google-research/bert, or a model folder.",
)
_TO = absl_flags.DEFINE_enum(
    "to",
    "model_folder",
    ["model_folder", "tf1_bert"],
    "Layout of --output_dir: a model folder, or tf1_bert of "
    "google-research/bert.",
)
_INPUT = absl_flags.DEFINE_string(
    "input",
    None,
    "Folder to read, or the prefix of a checkpoint, such as "
    "dir/model.ckpt-1000. With --from=model_folder also a hub id. Needed.",
)
_LOWER_CASE = absl_flags.DEFINE_enum(
    "lower_case",
    "auto",
    ["auto", "true", "false"],
    "Whether the tokenizer of a TF1 checkpoint lower-cases text; auto reads it "
    "from the files, and otherwise lower-cases if vocab.txt has no capitals.",
)
_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir",
    None,
    "Folder to write, which is created if missing. Needed.",
)


def main() -> None:
    """Converts a checkpoint."""
    for name, flag in (("input", _INPUT), ("output_dir", _OUTPUT_DIR)):
        if not flag.value:
            raise ValueError(
                f"`{name}` must name a folder. Received: nothing. "
                f"Add --{name}=FOLDER."
            )
    if _LOWER_CASE.value != "auto" and _FROM.value != "tf1_bert":
        raise ValueError(
            "`lower_case` must be auto for a model folder, whose tokenizer "
            f"says it. Received: {_LOWER_CASE.value}. Leave it out."
        )
    conversion = _CONVERSIONS.get((_FROM.value, _TO.value))
    if conversion is None:
        raise ValueError(
            "`from` and `to` must differ. "
            f"Received: {_FROM.value} and {_TO.value}."
        )
    # TensorFlow takes seconds to import: flags are checked before.
    from tfllm.interop import tf1_bert

    options = {}
    if _LOWER_CASE.value != "auto":
        options["lower_case"] = _LOWER_CASE.value == "true"
    getattr(tf1_bert, conversion)(_INPUT.value, _OUTPUT_DIR.value, **options)
    print(f"converted: {_OUTPUT_DIR.value}")


if __name__ == "__main__":
    flags.run(main)
