"""The layouts of KerasHub's classes, in both directions."""

from __future__ import annotations

from tfllm.interop.sources import keras_hub_t5
from tfllm.interop.sources.keras_hub_layout import Layout

_ENCODER_BLOCK = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
_GPT2_BLOCK = {
    "self_attention_layer_norm": "ln_1",
    "self_attention/query": "attn.c_attn[0]",
    "self_attention/key": "attn.c_attn[1]",
    "self_attention/value": "attn.c_attn[2]",
    "self_attention/attention_output": "attn.c_proj",
    "feedforward_layer_norm": "ln_2",
    "feedforward_intermediate_dense": "mlp.c_fc",
    "feedforward_output_dense": "mlp.c_proj",
}
_ROTARY_BLOCK = {
    "self_attention_layernorm": "input_layernorm",
    "self_attention/query": "self_attn.q_proj",
    "self_attention/key": "self_attn.k_proj",
    "self_attention/value": "self_attn.v_proj",
    "self_attention/attention_output": "self_attn.o_proj",
    "feedforward_layernorm": "post_attention_layernorm",
    "feedforward_gate_dense": "mlp.gate_proj",
    "feedforward_intermediate_dense": "mlp.up_proj",
    "feedforward_output_dense": "mlp.down_proj",
}
_SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "dropout": "hidden_dropout_prob",
}
_ROTARY_SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "layer_norm_epsilon": "rms_norm_eps",
    "rope_max_wavelength": "rope_theta",
}
_LLAMA = Layout(
    "llama",
    _ROTARY_SIZES,
    {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    {
        "token_embedding": "model.embed_tokens",
        "sequence_output_layernorm": "model.norm",
    },
    {"transformer_layer": ("model.layers", _ROTARY_BLOCK)},
    leaves={"token_embedding/reverse_embeddings": "lm_head.weight"},
    tokenizers=("byte_bpe", "sentence_piece"),
)

# Class of a backbone -> its layout.
LAYOUTS: dict[str, Layout] = {
    "BertBackbone": Layout(
        "bert",
        {**_SIZES, "num_segments": "type_vocab_size"},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12},
        {
            "token_embedding": "bert.embeddings.word_embeddings",
            "position_embedding": "bert.embeddings.position_embeddings",
            "segment_embedding": "bert.embeddings.token_type_embeddings",
            "embeddings_layer_norm": "bert.embeddings.LayerNorm",
            "pooled_dense": "bert.pooler.dense",
        },
        {"transformer_layer": ("bert.encoder.layer", _ENCODER_BLOCK)},
        tokenizers=("wordpiece",),
        optional=("bert.pooler.",),
    ),
    "RobertaBackbone": Layout(
        "roberta",
        _SIZES,
        {
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
        {
            "embeddings/token_embedding": "roberta.embeddings.word_embeddings",
            "embeddings/position_embedding": (
                "roberta.embeddings.position_embeddings"
            ),
            "embeddings_layer_norm": "roberta.embeddings.LayerNorm",
            "mlm_head/intermediate_dense": "lm_head.dense",
            "mlm_head/intermediate_layer_norm": "lm_head.layer_norm",
        },
        {"transformer_layer": ("roberta.encoder.layer", _ENCODER_BLOCK)},
        leaves={"mlm_head/output_bias": "lm_head.bias"},
        position_rows=2,
        segment_table="roberta.embeddings.token_type_embeddings.weight",
        head=("MaskedLM", "masked_lm"),
    ),
    "GPT2Backbone": Layout(
        "gpt2",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "hidden_dim": "n_embd",
            "intermediate_dim": "n_inner",
            "max_sequence_length": "n_positions",
            "dropout": "resid_pdrop",
        },
        {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5},
        {
            "token_embedding": "transformer.wte",
            "position_embedding": "transformer.wpe",
            "layer_norm": "transformer.ln_f",
        },
        {"transformer_layer": ("transformer.h", _GPT2_BLOCK)},
        matrices="copy",
    ),
    "Llama3Backbone": _LLAMA,
    "LlamaBackbone": _LLAMA,
    "T5Backbone": keras_hub_t5.LAYOUT,
}
