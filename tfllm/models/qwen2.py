"""Qwen 2 and 2.5: LLaMA's stack with biases on queries, keys and values.

Reference: Yang et al., "Qwen2 Technical Report", 2024,
https://arxiv.org/abs/2407.10671.
"""

from tfllm.layers.config import Activation
from tfllm.layers.position_config import RopeScaling
from tfllm.models import published_windows, rotary_decoder
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, class_names, stack_size
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

_SMALL = {"num_kv_heads": 2, "tied": True}
SIZES = {
    "tiny": stack_size(2, 128, 4, intermediate_size=344, **_SMALL),
    "0.5b": stack_size(24, 896, 14, intermediate_size=4864, **_SMALL),
    "1.5b": stack_size(28, 1536, 12, intermediate_size=8960, **_SMALL),
    "7b": stack_size(
        28,
        3584,
        28,
        num_kv_heads=4,
        intermediate_size=18944,
        vocab_size=152064,
    ),
}
END_OF_TEXT = 151643


def config(
    num_layers: int = 28,
    hidden_size: int = 3584,
    num_heads: int = 28,
    num_kv_heads: int | None = None,
    head_dim: int | None = None,
    intermediate_size: int | None = None,
    vocab_size: int = 151936,
    max_position_embeddings: int = 131072,
    theta: float = 1e6,
    scaling: RopeScaling | None = None,
    activation: Activation = "silu",
    attention_dropout: float = 0.0,
    classifier_dropout: float | None = None,
    epsilon: float = 1e-6,
    initializer_range: float = 0.02,
    tied: bool = False,
    window: int | None = None,
    full_attention_layers: tuple[int, ...] = (),
    bos_token_id: int | None = END_OF_TEXT,
    eos_token_id: int | None = END_OF_TEXT,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config; see `create_rotary_decoder` for the arguments.

    `window` and `full_attention_layers` are those of RotaryVariant.
    """
    return rotary_decoder.create_rotary_decoder(
        rotary_decoder.RotaryVariant(
            "qwen2", False, window, full_attention_layers
        ),
        num_layers,
        hidden_size,
        num_heads,
        num_kv_heads,
        head_dim,
        intermediate_size,
        vocab_size,
        max_position_embeddings,
        theta,
        scaling,
        activation,
        attention_bias=True,
        attention_dropout=attention_dropout,
        classifier_dropout=classifier_dropout,
        epsilon=epsilon,
        initializer_range=initializer_range,
        tied=tied,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )


# LLaMA's keys, with the defaults of Transformers' Qwen2Config: no model has
# published them all.
KEYS = {
    **rotary_decoder.KEYS,
    "vocab_size": ("vocab_size", 151936),
    "intermediate_size": ("intermediate_size", 22016),
    "num_key_value_heads": ("num_kv_heads", 32),
    "max_position_embeddings": ("max_position_embeddings", 32768),
    "bos_token_id": ("bos_token_id", None),
    "eos_token_id": ("eos_token_id", None),
    **published_windows.KEYS,
}
for _switch in ("attention_bias", "mlp_bias"):
    del KEYS[_switch]
PUBLISHED = rotary_decoder.RotaryKeys(
    "qwen2",
    KEYS,
    fields={**rotary_decoder.FIELDS, **published_windows.FIELDS},
)

TOKENIZER = TokenizerSpec(
    kinds=("byte_bpe",),
    # NOTE: the published tokenizer puts nothing between two texts.
    template=RowTemplate(pad="pad", between=("eos",)),
    # One token for all three, as in the published generation_config.json.
    special_tokens=SpecialTokens(
        pad="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>"
    ),
    arguments={"pattern": "qwen2", "normalization": "NFC"},
    classes=("Qwen2Tokenizer",),
)

FAMILY = Family(
    name="qwen2",
    title="Qwen2",
    paper="Yang et al., 2024",
    sizes=SIZES,
    parameters=("0.5b", 494_032_768),
    config=config,
    published=PUBLISHED,
    weights=rotary_decoder.rotary_decoder_weights,
    tokenizer=TOKENIZER,
    prefix="model.",
    prefixes=rotary_decoder.PREFIXES,
    layers=("num_hidden_layers", "model.layers.{}."),
    ignored=lambda _: rotary_decoder.IGNORED,
    tied=rotary_decoder.tied_output,
    architectures=class_names("Qwen2", *rotary_decoder.CLASSES),
)
