"""Mistral 7B and Nemo 12B: LLaMA's stack with a sliding window.

Reference: Jiang et al., "Mistral 7B", 2023, https://arxiv.org/abs/2310.06825.
"""

from tfllm.layers.config import Activation
from tfllm.layers.position_config import RopeScaling
from tfllm.models import published_windows, rotary_decoder
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, class_names, stack_size
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

_FIRST = {"num_kv_heads": 8, "intermediate_size": 14336}
_LATER = {**_FIRST, "window": None, "theta": 1e6}
SIZES = {
    "tiny": stack_size(2, 128, 4, num_kv_heads=2, intermediate_size=344),
    "7b_v0.1": stack_size(32, 4096, 32, **_FIRST),
    "7b_v0.2": stack_size(32, 4096, 32, **_LATER),
    "7b_v0.3": stack_size(32, 4096, 32, vocab_size=32768, **_LATER),
    "nemo_12b": stack_size(
        40,
        5120,
        32,
        head_dim=128,
        vocab_size=131072,
        max_position_embeddings=131072,
        **_LATER,
    ),
}


def config(
    num_layers: int = 32,
    hidden_size: int = 4096,
    num_heads: int = 32,
    num_kv_heads: int | None = None,
    head_dim: int | None = None,
    intermediate_size: int | None = None,
    vocab_size: int = 32000,
    max_position_embeddings: int = 32768,
    theta: float = 10000.0,
    scaling: RopeScaling | None = None,
    activation: Activation = "silu",
    attention_dropout: float = 0.0,
    classifier_dropout: float | None = None,
    epsilon: float = 1e-5,
    initializer_range: float = 0.02,
    tied: bool = False,
    window: int | None = 4096,
    bos_token_id: int | None = 1,
    eos_token_id: int | None = 2,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config; see `create_rotary_decoder` for the arguments.

    `window` is that of RotaryVariant.
    """
    return rotary_decoder.create_rotary_decoder(
        rotary_decoder.RotaryVariant("mistral", window=window),
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
        attention_dropout=attention_dropout,
        classifier_dropout=classifier_dropout,
        epsilon=epsilon,
        initializer_range=initializer_range,
        tied=tied,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )


# LLaMA's keys, with the defaults of Transformers' MistralConfig, which differ
# from the published sizes.
KEYS = {
    **rotary_decoder.KEYS,
    "intermediate_size": ("intermediate_size", 14336),
    "num_key_value_heads": ("num_kv_heads", 8),
    "max_position_embeddings": ("max_position_embeddings", 131072),
    "sliding_window": published_windows.KEYS["sliding_window"],
}
for _switch in ("attention_bias", "mlp_bias"):
    del KEYS[_switch]

TOKENIZER = TokenizerSpec(
    # Byte-level BPE is that of Nemo.
    kinds=("sentence_piece", "byte_bpe"),
    # NOTE: the published tokenizers open the second text as well.
    template=RowTemplate(pad="eos", opens=("bos",), between=("bos",)),
    special_tokens=SpecialTokens(unk="<unk>", bos="<s>", eos="</s>"),
    classes=("LlamaTokenizer", "PreTrainedTokenizerFast"),
)

FAMILY = Family(
    name="mistral",
    title="Mistral",
    paper="Jiang et al., 2023",
    sizes=SIZES,
    parameters=("7b_v0.1", 7_241_732_096),
    config=config,
    published=rotary_decoder.RotaryKeys(
        "mistral",
        KEYS,
        fields={**rotary_decoder.FIELDS, **published_windows.FIELDS},
    ),
    weights=rotary_decoder.rotary_decoder_weights,
    tokenizer=TOKENIZER,
    prefix="model.",
    layers=("num_hidden_layers", "model.layers.{}."),
    ignored=lambda _: rotary_decoder.IGNORED,
    tied=rotary_decoder.tied_output,
    architectures=class_names("Mistral", *rotary_decoder.CLASSES),
)
