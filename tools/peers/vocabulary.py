"""The WordPiece vocabulary that all sides tokenize with."""

import pathlib
import sys

from tools.peers import environments
from tools.peers.worker import SideError

_VOCAB_SIZE = 16000


def ensure_vocabulary(
    given: str,
    interpreter: str | SideError,
    text: pathlib.Path,
    threads: int,
    timeout: float,
) -> pathlib.Path:
    """Returns a vocab.txt, given or trained on a text.

    Args:
        given: folder or file of a vocabulary; one is trained when empty.
        interpreter: Python of tfllm, which trains it, or why there is none.
        text: plain text to train on; the vocabulary lies beside it.
        threads: cores that may be used.
        timeout: seconds that it may take.

    Raises:
        SideError: if it cannot be trained.
    """
    if given:
        path = pathlib.Path(given).absolute()
        return path / "vocab.txt" if path.is_dir() else path
    if isinstance(interpreter, SideError):
        raise interpreter
    folder = text.parent / "vocabulary"
    print("training a vocabulary", file=sys.stderr, flush=True)
    environments.run_to_end(
        [
            interpreter,
            "-m",
            "tools.build_vocab",
            f"--input_files={text}",
            "--kind=wordpiece",
            f"--vocab_size={_VOCAB_SIZE}",
            f"--output_dir={folder}",
        ],
        threads,
        timeout,
    )
    return folder / "vocab.txt"
