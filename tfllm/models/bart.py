"""BART: an encoder-decoder that learns to undo noise in texts.

Reference: Lewis et al., "BART: Denoising Sequence-to-Sequence Pre-training for
Natural Language Generation, Translation, and Comprehension", 2020,
https://arxiv.org/abs/1910.13461.
"""

import dataclasses
import functools

from tfllm.layers.position_config import LearnedPositionsConfig
from tfllm.models import post_norm_encoder_decoder as shared
from tfllm.models import roberta
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, class_names, stack_size
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import Weight

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "base": stack_size(6, 768, 12),
    "large": stack_size(12, 1024, 16),
    # Large, fine-tuned to summarize and to infer.
    "large_cnn": stack_size(12, 1024, 16, vocab_size=50264),
    "large_mnli": stack_size(12, 1024, 16),
}

# Row of position 0, as in fairseq: the first rows are not used.
_OFFSET = 2

# The defaults are BART-Large.
config = functools.partial(
    shared.create_encoder_decoder,
    shared.EncoderDecoderVariant(
        "bart",
        positions=lambda length, _: LearnedPositionsConfig(
            length + _OFFSET, _OFFSET
        ),
        embedding_norm=True,
        output_bias=True,
        sequence_dense="tanh",
    ),
    bos_token_id=0,
    eos_token_id=2,
    pad_token_id=1,
)

PUBLISHED = PublishedKeys(
    "bart",
    {
        **shared.KEYS,
        "vocab_size": ("vocab_size", 50265),
        "classifier_dropout": ("classifier_dropout", 0.0),
        # The older name of the same.
        "classif_dropout": ("classifier_dropout", 0.0),
        "bos_token_id": ("bos_token_id", 0),
        "eos_token_id": ("eos_token_id", 2),
        "pad_token_id": ("pad_token_id", 1),
    },
    fixed={
        **shared.FIXED,
        # Of early files.
        "normalize_before": False,
        "add_final_layer_norm": False,
        "normalize_embedding": True,
        "static_position_embeddings": False,
    },
    invariants={"tie_word_embeddings": True},
    constants=shared.CONSTANTS,
    fields=shared.FIELD_PATHS,
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the stacks and all heads."""
    table = shared.encoder_decoder_table(config, positions=True)
    for published, path in shared.token_tables(config).items():
        table.tensor(published, path)
    table.row("final_logits_bias", "lm_head.bias")
    table.dense("classification_head.dense", "sequence_dense")
    table.heads(sequence="classification_head.out_proj")
    return table.rows


TOKENIZER = dataclasses.replace(
    roberta.TOKENIZER,
    classes=("BartTokenizer", "BartTokenizerFast", "RobertaTokenizer"),
)

FAMILY = Family(
    name="bart",
    title="BART",
    paper="Lewis et al., 2020",
    sizes=SIZES,
    parameters=("base", 139_470_681),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix=shared.PREFIX,
    layers=shared.LAYERS,
    decoder_layers=shared.DECODER_LAYERS,
    ignored=lambda _: (r"model\.(en|de)coder\.version",),
    tied=shared.tied_tables,
    architectures=class_names(
        "Bart",
        "seq2seq_lm",
        "encoder_decoder",
        "sequence_classification",
        "question_answering",
    ),
)
