"""The base of every tfllm layer: one frozen config is the only argument."""

from typing import Any, ClassVar

import keras

from tfllm.layers.fields import from_dict, to_dict


class ConfiguredLayer(keras.layers.Layer):
    """A layer whose only constructor argument is a config dataclass.

    `get_config` and `from_config` are written once, here, so that no layer
    can forget an argument. The shapes of the weights follow from the config:
    `build()` needs no input shape.

    Args:
        config: An instance of the class attribute `config_class`.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Raises:
        TypeError: `config` is of another class.
    """

    config_class: ClassVar[type]
    config: Any

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"`config` of {type(self).__name__} must be a "
                f"{self.config_class.__name__}. Received: {config!r}"
            )
        self.config = config

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights of all parts, in the order of the constructor."""
        for part in self._flatten_layers(include_self=False, recursive=False):
            if not part.built:
                part.build()
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, ready for JSON."""
        return {**super().get_config(), "config": to_dict(self.config)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ConfiguredLayer":
        """Builds the layer from what `get_config` returned."""
        rest = dict(config)
        return cls(from_dict(cls.config_class, rest.pop("config")), **rest)
