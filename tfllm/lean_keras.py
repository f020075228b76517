"""Imports Keras without the packages that it only looks for.

Keras imports pandas, scikit-learn and Matplotlib where they are installed,
for data frames, wrappers and galleries that no command of tfllm uses. They
take about three seconds and 140 MB. A command imports this module before all
others; in a process that has imported Keras it does nothing. The packages
themselves can still be imported afterwards.
"""

import sys

_LOOKED_FOR = ("matplotlib", "pandas", "sklearn")


def _import_keras() -> None:
    """Imports Keras as if those packages were not there."""
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
