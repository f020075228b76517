"""Tests that the Beam pipeline gives what the in-process build gives."""

import builtins
import json
import pathlib
import warnings

import numpy as np
import pytest

from tfllm.data.corpus import beam, builder
from tfllm.data.corpus.builder import CorpusConfig
from tfllm.data.corpus.cleaning import CleaningConfig
from tfllm.data.corpus.sources import FilesConfig


def _texts() -> list[str]:
    texts = [
        " ".join(
            f"word{n}" for n in np.random.default_rng(i).integers(0, 9999, 30)
        )
        + ". Second one.\nHome | About"
        for i in range(60)
    ]
    return [
        *texts,
        texts[3],
        texts[3],
        texts[4].replace("Second", "Other"),
        "tiny",
        "café au lait\x07 is what they drank all day long, every day.",
    ]


def test_missing_beam_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real_import = builtins.__import__

    def without_beam(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] == "apache_beam":
            raise ImportError("No module named 'apache_beam'")
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_beam)
    with pytest.raises(ValueError, match=r"Received: .*tfllm\[beam\]"):
        beam.import_beam()


def test_same_documents_and_counts(tmp_path: pathlib.Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Beam's own, of its dependencies
        pytest.importorskip("apache_beam", reason="needs the extra `beam`")
    texts = _texts()
    (tmp_path / "a.txt").write_bytes("\n\n".join(texts[:30]).encode("latin-1"))
    records = [json.dumps({"text": text}) for text in texts[30:]]
    (tmp_path / "b.jsonl").write_text("\n".join([*records, "{"]))
    reports, documents = {}, {}
    for runner in ("", "DirectRunner"):
        folder = tmp_path / f"out{runner}"
        config = CorpusConfig(
            output_dir=str(folder),
            source="files",
            files=FilesConfig(
                input_files=f"{tmp_path}/a.txt,{tmp_path}/*.jsonl",
                on_bad_record="skip",
            ),
            cleaning=CleaningConfig(min_characters=20),
            heldout_fraction=0.25,
            runner=runner,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reports[runner] = builder.build(
                config, beam.build if runner else None
            )
        documents[runner] = {
            split: sorted(builder.read_documents(str(folder / f"{split}.txt")))
            for split in ("train", "heldout")
        }
        assert sorted(path.name for path in folder.iterdir()) == [
            "heldout.txt",
            "report.json",
            "train.txt",
        ]
    assert documents[""] == documents["DirectRunner"]
    assert reports[""]["counts"] == reports["DirectRunner"]["counts"]
    dropped = reports[""]["counts"]["dropped"]
    assert {name: part["documents"] for name, part in dropped.items()} == {
        "bad_record": 1,
        "exact_duplicate": 2,
        "near_duplicate": 1,
        "too_short": 1,
    }
