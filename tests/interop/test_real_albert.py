"""A small ALBERT with trained weights: that of the package rxnmapper.

It reads chemical reactions, written as SMILES. Needs `pip install --no-deps
rxnmapper`, and torch, which reads its file; nothing of it is executed.
"""

import importlib.util
import json
import pathlib
import re

import numpy as np
import pytest

from tfllm.interop import model_folder
from tfllm.models import PretrainingModel

# Schwaller et al., 2019, "Molecular Transformer".
ATOM = re.compile(
    r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@"
    r"|\?|>>?|\*|\$|%\d{2}|\d"
)
# Esters, amides and a Suzuki coupling, each as reactants>>product.
REACTIONS = (
    "CC(=O)O.OCC>>CC(=O)OCC",
    "CC(=O)Cl.Nc1ccccc1>>CC(=O)Nc1ccccc1",
    "OB(O)c1ccccc1.Brc1ccncc1>>c1ccc(-c2ccncc2)cc1",
    "CC(=O)OC(C)=O.Oc1ccccc1C(=O)O>>CC(=O)Oc1ccccc1C(=O)O",
    "COC(=O)c1ccccc1>>O=C(O)c1ccccc1",
)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    found = importlib.util.find_spec("rxnmapper")
    if found is None or found.origin is None:
        pytest.skip("rxnmapper, which has the weights, is not installed")
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    package = pathlib.Path(found.origin).parent
    (source,) = package.rglob("pytorch_model.bin")
    folder = tmp_path_factory.mktemp("albert")
    tensors = torch.load(source, weights_only=True, map_location="cpu")
    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()},
        folder / "model.safetensors",
    )
    for name in ("config.json", "vocab.txt"):
        (folder / name).write_bytes((source.parent / name).read_bytes())
    return folder


def test_masked_atoms_are_predicted(folder: pathlib.Path) -> None:
    config = model_folder.read_config(folder)[1]
    values = json.loads((folder / "config.json").read_text())
    assert values["architectures"] == ["AlbertForMaskedLM"]
    assert (config.num_layers, config.stack.num_blocks) == (12, 1)
    model = PretrainingModel(config, num_sequence_labels=0)
    model.build()
    assert not model_folder.load_weights(model, folder)
    vocab = (folder / "vocab.txt").read_text().split("\n")
    ids = {token: i for i, token in enumerate(vocab)}
    right = total = 0
    for reaction in REACTIONS:
        row = [ids[t] for t in ("[CLS]", *ATOM.findall(reaction), "[SEP]")]
        places = np.arange(1, len(row) - 1)
        # One row for each token, in which it is masked.
        rows = np.tile(np.array(row, "int32"), (len(places), 1))
        rows[np.arange(len(places)), places] = ids["[MASK]"]
        logits = model(rows, masked_positions=places[:, None])["mlm"]
        best = np.asarray(logits)[:, 0].argmax(-1)
        right += int((best == np.array(row)[places]).sum())
        total += len(places)
    # By chance, or by the most frequent token alone, far fewer.
    print(f"{right} of {total} masked tokens")
    assert right > 0.8 * total
