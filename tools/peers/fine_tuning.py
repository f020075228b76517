"""Fine-tuning on short texts, with the input that each side's users have.

A step holds all of it: the next texts, tokens and padding, forward, backward,
clip and update. tfllm and Transformers tokenize all texts before the first
step, KerasHub those of each batch in its input pipeline. What differs most is
how much padding is computed: batches of about one length; random batches,
padded to their longest text; all texts padded to one length. `grouped` is
Transformers with its sampler by length, which is off by default there.
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
    """What to fine-tune on.

    Args:
        labelled_text: file with `label TAB text` in each line.
        tokenizer: folder or file of a WordPiece vocabulary; one is trained
            on the texts when empty.
    """

    labelled_text: str
    tokenizer: str


def measure(
    specs: Sequence[SideSpec],
    interpreters: dict[str, str | SideError],
    config: TextConfig,
    turns: TurnsConfig,
) -> tables.Table:
    """Lets the sides fine-tune in turns.

    Args:
        specs: the sides.
        interpreters: side -> its Python, or why there is none.
        config: the texts.
        turns: how steps are measured.
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
    """Returns the sides, and `grouped` beside Transformers."""
    chosen = []
    for spec in specs:
        if WORK.kind not in spec.kinds:
            continue
        if spec.name == OURS and len(spec.variants) > 1:
            # XLA would compile the step for each width.
            spec = dataclasses.replace(spec, variants=("no_jit",))
        chosen.append(spec)
        if spec.name == "transformers":
            grouped = SIDES[spec.name].variants[0] + "+grouped"
            chosen.append(
                dataclasses.replace(spec, name=GROUPED, variants=(grouped,))
            )
    return chosen
