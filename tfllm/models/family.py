"""Family: a model family as data."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfllm.models.config import TransformerConfig
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import TensorSource, Weight
from tfllm.tokenizers.spec import TokenizerSpec


@dataclasses.dataclass(frozen=True)
class Size:
    """A number of config.json that is also an axis of a published tensor.

    Attributes:
        key: Key in config.json.
        tensor: Published name of the tensor.
        axis: Axis of the tensor with this size.
    """

    key: str
    tensor: str
    axis: int


def stack_size(
    num_layers: int, hidden_size: int, num_heads: int, **others: Any
) -> dict[str, Any]:
    """Returns the arguments of `config()` for one of `Family.sizes`."""
    return {
        "num_layers": num_layers,
        "hidden_size": hidden_size,
        "num_heads": num_heads,
        **others,
    }


# Keys of heads for labelled tasks -> end of the published class name.
_LABELLED = {
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
    "multiple_choice": "ForMultipleChoice",
}
LABELLED = tuple(_LABELLED)
# Keys whose classes hold no more than the encoder of an encoder-decoder.
ENCODER_ONLY = ("encoder", "token_classification")
# End of the class name for all keys of `Family.architectures`.
_CLASSES = {
    "pretraining": "ForPreTraining",
    "masked_lm": "ForMaskedLM",
    "causal_lm": "ForCausalLM",
    "seq2seq_lm": "ForConditionalGeneration",
    "encoder": "Model",
    "encoder_decoder": "Model",
    **_LABELLED,
}


def class_names(name: str, *keys: str, **others: str) -> dict[str, str]:
    """Returns `Family.architectures`.

    Args:
        name: Prefix of the published class names.
        *keys: Keys whose class name ends as usual.
        **others: Key -> full class name, for the others.
    """
    return {**{key: name + _CLASSES[key] for key in keys}, **others}


_LEGACY_NAMES = {
    ".LayerNorm.gamma": ".LayerNorm.weight",
    ".LayerNorm.beta": ".LayerNorm.bias",
}


def _nothing(config: TransformerConfig) -> dict[str, str]:
    """Ties no tensors."""
    return {}


def tied_to(
    table: str, head: str = "lm_head.weight"
) -> Callable[[TransformerConfig], dict[str, str]]:
    """Returns `Family.tied` for an output table that may be the token table.

    Args:
        table: Published name of the token table.
        head: Published name of the output table.
    """

    def tied(config: TransformerConfig) -> dict[str, str]:
        if config.output_head is None or not config.output_head.tied:
            return {}
        return {head: table}

    return tied


@dataclasses.dataclass(frozen=True)
class Family:
    """A model family as data: its sizes, its published layout.

    Attributes:
        name: Name in `FAMILIES`, equal to `model_type` in config.json.
        title: Name as its authors spell it.
        paper: Citation.
        sizes: Size name -> keyword arguments of `config`.
        parameters: One of the sizes, and its number of weights with the heads
            of pretraining.
        config: Builds a TransformerConfig from plain numbers.
        published: Keys of config.json <-> arguments of `config`.
        weights: From a config, the weights of the model and all its heads;
            see `tfllm.models.weight_map`.
        prefix: Published prefix that files of bare encoders leave out.
        prefixes: Key of `architectures` -> prefix of that class, if it differs
            from `prefix`.
        layers: Key of config.json for the number of layers, and the
            published prefix of the tensors of a layer, with `{}` for its
            number. Of an encoder-decoder, those of the encoder.
        decoder_layers: The same for the decoder of an encoder-decoder.
        ignored: From a config, regular expressions of published names that
            have no weight here, such as buffers.
        tied: From a config, published name of a tied copy -> name of its
            original. Files may hold the copy, the original, or both with the
            same value.
        architectures: "pretraining" (with a sequence head), "masked_lm",
            "causal_lm", "seq2seq_lm" (an encoder-decoder with an output
            head), "encoder" (one stack, no head), "encoder_decoder" (two
            stacks, no head) and the heads of `tfllm.models.task_models` ->
            published class names.
        legacy_names: Old spelling -> new, replaced in published names. Default:
            those of the first files, which TensorFlow had named.
        computed: From a config, published name -> tensor of what has no
            weight here, but a tensor in published files; None for none.
        fit_tensors: From a config and the tensors beside its config.json, the
            config that they fit, if the file cannot say it; None if it can.
        read: config.json -> arguments of `config`, if the table cannot say
            it; None for `published.read`.
        write: Config -> config.json, if the table cannot say it; None for
            `published.write`.
        tokenizer: Kinds of tokenizers, special tokens, rows.
    """

    name: str
    title: str
    paper: str
    sizes: Mapping[str, Mapping[str, Any]]
    parameters: tuple[str, int]
    config: Callable[..., TransformerConfig]
    published: PublishedKeys
    weights: Callable[[TransformerConfig], list[Weight]]
    prefix: str
    layers: tuple[str, str]
    tokenizer: TokenizerSpec
    ignored: Callable[[TransformerConfig], tuple[str, ...]] = lambda config: ()
    tied: Callable[[TransformerConfig], Mapping[str, str]] = _nothing
    architectures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    legacy_names: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: _LEGACY_NAMES
    )
    prefixes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    decoder_layers: tuple[str, str] | None = None
    computed: Callable[[TransformerConfig], Mapping[str, np.ndarray]] | None = (
        None
    )
    fit_tensors: (
        Callable[[TransformerConfig, TensorSource], TransformerConfig] | None
    ) = None
    read: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    write: Callable[[TransformerConfig], dict[str, Any]] | None = None

    def from_published(self, values: Mapping[str, Any]) -> TransformerConfig:
        """Returns the config that a published config.json describes.

        Raises:
            ValueError: A value is wrong, or the family does not support it.
        """
        read = self.read or self.published.read
        return self.config(**read(values))

    def to_published(self, config: TransformerConfig) -> dict[str, Any]:
        """Returns the published config.json of a config."""
        return (self.write or self.published.write)(config)

    def shown_sizes(self, config: TransformerConfig) -> list[Size]:
        """Returns the numbers of config.json that are axes of tensors."""
        # `shown_by` names the stack that reads the input.
        whole = {
            w.path.replace("transformer.encoder.", "transformer."): w
            for w in self.weights(config)
            if w.columns is None
        }
        sizes = []
        for key, (argument, _) in self.published.keys.items():
            path, axis = self.published.field(argument).shown_by or ("", 0)
            if path in whole:
                weight = whole[path]
                axis = 1 - axis if weight.transform == "transpose" else axis
                sizes.append(Size(key, weight.published, axis))
        return sizes

    def name_in_table(self, name: str) -> str:
        """Returns the name in `weights` of a published name in any file."""
        for old, new in self.legacy_names.items():
            name = name.replace(old, new)
        for prefix in self.prefixes.values():
            if prefix and name.startswith(prefix):
                return self.prefix + name.removeprefix(prefix)
        return name

    def name_in_files(self, name: str, architecture: str) -> str:
        """Returns the name in files of a class of a name in `weights`."""
        prefix = self.prefixes.get(architecture, self.prefix)
        if name.startswith(self.prefix):
            return prefix + name.removeprefix(self.prefix)
        return name

    def size(self, name: str, **overrides: Any) -> TransformerConfig:
        """Returns the config of a named size.

        Args:
            name: One of `sizes`.
            **overrides: Arguments of `config` to replace, e.g. vocab_size.

        Raises:
            ValueError: The size is unknown.
        """
        if name not in self.sizes:
            raise ValueError(
                f"`model` {self.name} has the sizes {sorted(self.sizes)}. "
                f"Received: {name!r}"
            )
        return self.config(**{**self.sizes[name], **overrides})
