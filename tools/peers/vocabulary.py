"""Returns the WordPiece vocabulary that all sides use."""

import pathlib
import sys

from tools.peers import environments
from tools.peers.worker import SideError

_VOCAB_SIZE = 16000


def ensure_vocabulary(
    tokenizer: str,
    interpreter: str | SideError,
    text: pathlib.Path,
    threads: int,
    timeout: float,
) -> pathlib.Path:
    """Returns the path of a vocab.txt, which is trained if missing.

    Args:
        tokenizer: Folder or file of a vocabulary; empty to train one.
        interpreter: Python of tfllm, or the reason why it has none.
        text: Plain text to train on; the vocabulary is written beside it.
        threads: Cores that may be used.
        timeout: Timeout in seconds.

    Raises:
        SideError: Training fails.
    """
    if tokenizer:
        path = pathlib.Path(tokenizer).absolute()
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
