"""What tokenizer_config.json says about a tokenizer.model.

Classes of Transformers without a tokenizer.json change texts before the model
reads them, or its ids afterwards. What the graph does not do is refused.
"""

from __future__ import annotations

from typing import Any

from tfllm.tokenizers import sentence_piece_model
from tfllm.tokenizers.files import TOKENIZER_FILE
from tfllm.tokenizers.sentence_piece_model import Model
from tfllm.tokenizers.sentence_piece_rules import TextRules

_REWRITES = "it changes texts before the model reads them"
_RENUMBERS = "it numbers its tokens in another way than the model"
# Class of Transformers -> why its ids are not those of the model.
_REFUSED_CLASSES = {
    **dict.fromkeys(
        (
            "CpmTokenizer",
            "DebertaV2Tokenizer",
            "FNetTokenizer",
        ),
        _REWRITES,
    ),
    **dict.fromkeys(
        (
            "BarthezTokenizer",
            "MBart50Tokenizer",
            "MBartTokenizer",
            "NllbTokenizer",
            "PLBartTokenizer",
            "PegasusTokenizer",
            "SeamlessM4TTokenizer",
            "XGLMTokenizer",
            "XLMProphetNetTokenizer",
        ),
        _RENUMBERS,
    ),
}
# Key -> value that changes nothing.
_PLAIN = {
    "do_lower_case": False,
    "strip_accents": False,
    "keep_accents": True,
    "split_by_punct": False,
}
# Keys of `sp_model_kwargs` that change the ids.
_KWARGS = ("enable_sampling", "add_bos", "add_eos", "reverse")


def check(config: dict[str, Any], file: str) -> None:
    """Raises ValueError for options that the graph does not follow.

    Args:
        config: The content of tokenizer_config.json.
        file: Its path, for messages.
    """
    name = (config.get("tokenizer_class") or "").removesuffix("Fast")
    if name in _REFUSED_CLASSES:
        raise ValueError(
            f"`tokenizer_class` in {file!r} must be one that reads texts as "
            f"the model does: {_REFUSED_CLASSES[name]}. Received: {name!r}. "
            f"Add the {TOKENIZER_FILE} of the model."
        )
    for key, plain in _PLAIN.items():
        value = config.get(key)
        if value not in (None, plain):
            raise ValueError(
                f"`{key}` in {file!r} must be {str(plain).lower()}: texts are "
                f"normalized as the model says. Received: {value!r}. Add the "
                f"{TOKENIZER_FILE} of the model."
            )
    check_kwargs(config, file)


def check_kwargs(config: dict[str, Any], file: str) -> None:
    """Raises ValueError for `sp_model_kwargs` that change the ids.

    Args:
        config: The content of tokenizer_config.json.
        file: Its path, for messages.
    """
    kwargs = config.get("sp_model_kwargs") or {}
    changing = [key for key in _KWARGS if kwargs.get(key)]
    if changing:
        raise ValueError(
            f"`sp_model_kwargs` in {file!r} must be without {changing[0]}: "
            "the graph gives the best pieces, and the row template the "
            f"special tokens. Received: {kwargs!r}. Remove the field."
        )


def apply_prefix(
    model: Model, config: dict[str, Any], file: str
) -> tuple[Model, dict[str, Any]]:
    """Returns the model and rules that `legacy` and `add_prefix_space` ask for.

    With `legacy` a "▁" opens each part of a text between added tokens, without
    it only the part that opens the text, or none without `add_prefix_space`.

    Args:
        model: The ModelProto.
        config: The content of tokenizer_config.json.
        file: Its path, for messages.

    Returns:
        The model, and arguments of the tokenizer.

    Raises:
        ValueError: A value is no truth value, or cannot be followed: `legacy`
            false for a model that takes the spaces from the beginning of each
            part, or `add_prefix_space` false with `legacy`.
    """
    for key in ("legacy", "add_prefix_space"):
        value = config.get(key)
        if value not in (None, True, False):
            raise ValueError(
                f"`{key}` in {file!r} must be true or false. Received: "
                f"{value!r}. Correct the file."
            )
    legacy = config.get("legacy")
    has_space = config.get("add_prefix_space") is not False
    spec = model.normalizer_spec
    if not spec.add_dummy_prefix or (legacy is not False and has_space):
        return model, {}
    if legacy is not False:
        raise ValueError(
            f"`add_prefix_space` in {file!r} must be true with `legacy`: "
            "classes of Transformers differ in whether they follow it. "
            "Received: false. Set `legacy` to false, or add the "
            f"{TOKENIZER_FILE} of the model."
        )
    if spec.remove_extra_whitespaces:
        raise ValueError(
            f"`legacy` in {file!r} must be true for a model that removes extra "
            "spaces: it would keep one behind an added token. Received: "
            f"false. Add the {TOKENIZER_FILE} of the model."
        )
    if not has_space:
        return sentence_piece_model.without_dummy_prefix(model), {}
    return model, {"text_rules": TextRules(prefix="opening")}
