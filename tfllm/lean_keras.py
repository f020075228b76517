"""Imports Keras without its optional packages.

If they are installed, Keras imports pandas, scikit-learn and Matplotlib, for
features that no command of tfllm uses. They take about three seconds and 140
MB. A command imports this module before all others. If Keras is imported
already, it does nothing. The packages can still be imported afterwards.
"""

import sys

_LOOKED_FOR = ("matplotlib", "pandas", "sklearn")


def _import_keras() -> None:
    """Imports Keras as if the packages were not installed."""
    absent = [name for name in _LOOKED_FOR if name not in sys.modules]
    # None makes an import of the name fail.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        import keras  # noqa: F401
    finally:
        for name in absent:
            del sys.modules[name]


if "keras" not in sys.modules:
    _import_keras()
