"""Trains a vocabulary for the tokenizer of a family."""

from typing import Any

from tfllm.data.vocabularies import byte_bpe, sentence_piece, wordpiece
from tfllm.tokenizers.spec import TokenizerSpec


def train(
    input_files: str,
    output_dir: str,
    spec: TokenizerSpec,
    vocab_size: int,
    **options: Any,
) -> int:
    """Trains a vocabulary on files and writes a tokenizer folder.

    Args:
        input_files: Text files, plain or gzip: paths and globs,
            comma-separated, local or remote.
        output_dir: Folder for the files of the tokenizer.
        spec: Tokenizer of the family.
        vocab_size: Tokens at most, special tokens included.
        **options: More fields of the training config of `spec.kind`.

    Returns:
        The number of tokens.

    Raises:
        ValueError: A file is missing, empty or binary, or the size is too
            small.
    """
    options = {**spec.training, **options}
    if spec.kind == "wordpiece":
        vocabulary = wordpiece.train(
            input_files,
            output_dir,
            wordpiece.WordPieceTrainingConfig(
                vocab_size=vocab_size,
                special_tokens=spec.special_tokens,
                **options,
            ),
        )
        return len(vocabulary)
    if spec.kind == "byte_bpe":
        return byte_bpe.train(
            input_files,
            output_dir,
            byte_bpe.ByteBPETrainingConfig(
                vocab_size=vocab_size,
                special_tokens=spec.special_tokens,
                special_first=spec.special_first,
                added_tokens=spec.added_tokens,
                template=spec.template,
                arguments=spec.arguments,
                **options,
            ),
            spec,
        ).vocab_size
    return sentence_piece.train(
        input_files,
        output_dir,
        sentence_piece.SentencePieceTrainingConfig(
            vocab_size=vocab_size,
            allows_fewer=True,
            special_tokens=spec.special_tokens,
            added_tokens=spec.added_tokens,
            template=spec.template,
            **options,
        ),
    )
