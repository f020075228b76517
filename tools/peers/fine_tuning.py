"""Measures fine-tuning on short texts, with each library's input pipeline.

A step includes the next texts, tokens and padding, forward, backward, clipping
and update. tfllm and Transformers tokenize all texts before the first step,
KerasHub tokenizes each batch in its input pipeline. The main difference is the
padding: tfllm makes batches of about one length, Transformers pads random
batches to their longest text, KerasHub pads all texts to one length. `grouped`
is Transformers with its sampler by length, which is off by default.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

from tools.peers import tables, texts
from tools.peers.protocol import Work
from tools.peers.sides import OURS, SIDES, SideSpec
from tools.peers.turns import Comparison, TurnsConfig
from tools.peers.vocabulary import ensure_vocabulary
from tools.peers.worker import SideError

WORK = Work(
    name="MiniLM",
    kind="finetune",
    hidden_size=384,
    num_layers=6,
    intermediate_size=1536,
    batch_size=32,
    learning_rate=5e-5,
)
GROUPED = "grouped"


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Config of the work minilm_finetune.

    Args:
        labelled_text: File with `label TAB text` in each line.
        tokenizer: Folder or file of a WordPiece vocabulary; empty to train one
            on the texts.
    """

    labelled_text: str
    tokenizer: str


def measure(
    specs: Sequence[SideSpec],
    interpreters: dict[str, str | SideError],
    config: TextConfig,
    turns: TurnsConfig,
) -> tables.Table:
    """Measures fine-tuning of the sides in turns.

    Args:
        specs: The sides.
        interpreters: Side -> its Python, or the reason why it has none.
        config: Config of the work.
        turns: How steps are measured.
    """
    chosen = _specs(specs)
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder) / "texts.txt"
        try:
            lines, _ = texts.read(config.labelled_text)
            plain.write_text("\n".join(lines) + "\n", encoding="utf-8")
            vocabulary = ensure_vocabulary(
                config.tokenizer,
                interpreters[OURS],
                plain,
                turns.threads,
                turns.timeout,
            )
        except (SideError, ValueError) as error:
            return tables.Table(
                "MiniLM fine-tuning on texts",
                [tables.Row(spec.name, error=str(error)) for spec in chosen],
            )
        work = dataclasses.replace(
            WORK,
            text=str(pathlib.Path(config.labelled_text).absolute()),
            vocabulary=str(vocabulary),
        )
        pythons = {
            spec.name: interpreters[
                "transformers" if spec.name == GROUPED else spec.name
            ]
            for spec in chosen
        }
        with Comparison(work, chosen, pythons, turns) as comparison:
            return comparison.steps()


def _specs(specs: Sequence[SideSpec]) -> list[SideSpec]:
    """Returns the sides that fine-tune, with `grouped` after Transformers."""
    chosen = []
    for spec in specs:
        if not spec.supports(WORK):
            continue
        if spec.name == OURS and len(spec.variants) > 1:
            # XLA would compile the step again for each width.
            spec = dataclasses.replace(spec, variants=("no_jit",))
        chosen.append(spec)
        if spec.name == "transformers":
            grouped = SIDES[spec.name].variants[0] + "+grouped"
            chosen.append(
                dataclasses.replace(spec, name=GROUPED, variants=(grouped,))
            )
    return chosen
