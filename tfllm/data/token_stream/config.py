"""Settings that turn text files into a stream of tokens.

They need no TensorFlow, as flags are made of them.
"""

from dataclasses import dataclass

from tfllm.data.corpus.sources import FilesConfig
from tfllm.data.positive import check_positive
from tfllm.tokenizers.spec import TokenizerSpec

# Task in the manifest of prepared shards. Every task on a stream reads them.
TASK = "causal_lm"


@dataclass(frozen=True)
class TokenizeConfig:
    """Settings to prepare shards of a stream of tokens.

    Args:
        input_files: Text or JSONL, plain or gzip: globs, comma-separated.
        tokenizer: Vocabulary file or tokenizer folder.
        output_dir: Folder for the shards.
        spec: Tokenizer of the model's family, for what the files do not say.
        document_per: What a document is; see `FilesConfig`.
        workers: Number of processes.
        overwrite: Whether to delete shards made with other settings.
    """

    input_files: str
    tokenizer: str
    output_dir: str
    spec: TokenizerSpec | None = None
    document_per: str = FilesConfig.document_per
    workers: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks the values."""
        check_positive(self, "workers")
        FilesConfig(document_per=self.document_per)
