r"""Converts checkpoints of other libraries to model folders, and back.

    python -m tools.convert_checkpoint \
        --input=uncased_L-12_H-768_A-12 --output_dir=bert_base
    python -m tools.convert_checkpoint --input=model.gguf --output_dir=llama

The format is recognized from the files; --from names it. The output says how
many tensors were read, which were left out, and how far one forward pass is
from that of the library of the checkpoint, where that is installed.
"""

from absl import flags as absl_flags

from tfllm.runs import flags

_MODEL_FOLDER = "model_folder"
_AUTO = "auto"
# Names in tfllm.interop.sources.table, which takes seconds to import.
_SOURCES = ["tf1_bert", "tf1_albert", "official", "keras_hub", "meta"]
_SOURCES += ["torch", "gguf"]
_TARGETS = ["tf1_bert", "keras_hub"]

_FROM = absl_flags.DEFINE_enum(
    "from",
    _AUTO,
    [_AUTO, *_SOURCES, _MODEL_FOLDER],
    "Format of --input; auto recognizes it by its files.",
)
_TO = absl_flags.DEFINE_enum(
    "to",
    _MODEL_FOLDER,
    [_MODEL_FOLDER, *_TARGETS],
    "Format of --output_dir. Others than model_folder are written from a model "
    "folder or a hub id.",
)
_INPUT = absl_flags.DEFINE_string(
    "input",
    None,
    "File or folder to read, the prefix of a checkpoint, such as "
    "dir/model.ckpt-1000, or a hub id, such as gpt2 or gpt2@main. Needed.",
)
_REVISION = absl_flags.DEFINE_string(
    "revision",
    None,
    "Branch, tag or commit, if --input is a hub id. Default: main.",
)
_LOWER_CASE = absl_flags.DEFINE_enum(
    "lower_case",
    _AUTO,
    [_AUTO, "true", "false"],
    "Whether the tokenizer of a vocab.txt lower-cases text; auto reads it "
    "from the files, and otherwise lower-cases if vocab.txt has no capitals.",
)
_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir",
    None,
    "Folder to write, new or empty. Needed.",
)


def main() -> None:
    """Converts a checkpoint."""
    for name, flag in (("input", _INPUT), ("output_dir", _OUTPUT_DIR)):
        if not flag.value:
            raise ValueError(
                f"`{name}` must name a folder. Received: nothing. "
                f"Add --{name}=FOLDER."
            )
    from_folder = _TO.value != _MODEL_FOLDER
    if from_folder and _FROM.value not in (_AUTO, _MODEL_FOLDER):
        raise ValueError(
            f"`from` must be {_MODEL_FOLDER} with --to={_TO.value}. Received: "
            f"{_FROM.value}. Convert to a model folder first."
        )
    if not from_folder and _FROM.value == _MODEL_FOLDER:
        raise ValueError(
            f"`from` and `to` must differ. Received: {_MODEL_FOLDER} twice."
        )
    if _LOWER_CASE.value != _AUTO and from_folder:
        raise ValueError(
            "`lower_case` must be auto for a model folder, whose tokenizer "
            f"says it. Received: {_LOWER_CASE.value}. Leave it out."
        )
    # TensorFlow takes seconds to import: flags are checked before.
    if from_folder:
        _write_target()
    else:
        _write_model_folder()
    print(f"converted: {_OUTPUT_DIR.value}")


def _write_model_folder() -> None:
    """Converts --input to a model folder, and prints what was read."""
    from tfllm.interop.sources import convert
    from tfllm.interop.sources.contract import Options

    options = Options()
    if _LOWER_CASE.value != _AUTO:
        options = Options(lower_case=_LOWER_CASE.value == "true")
    report = convert.to_model_folder(
        _INPUT.value,
        _OUTPUT_DIR.value,
        None if _FROM.value == _AUTO else _FROM.value,
        options,
        _REVISION.value,
    )
    print(report)


def _write_target() -> None:
    """Converts the model folder --input to another format."""
    from tfllm.interop.sources import table

    write = table.TARGETS[_TO.value]
    write(_INPUT.value, _OUTPUT_DIR.value, _REVISION.value)


if __name__ == "__main__":
    flags.run(main)
