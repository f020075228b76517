"""The flags of tools/record_parity.py."""

from tfllm.runs import flags


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Recording")
    group.string(
        "output_dir",
        "tests/testdata",
        "Folder to write the recorded files to.",
    )
    group.several(
        "family",
        "Family to record; the flag may be given several times. Default: "
        "every family.",
    )
    group.integer("seed", 0, "Seed of the weights and the inputs.")
