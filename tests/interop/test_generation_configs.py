"""generation_config.json of a folder: heeded, named, or refused to generate."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import small_models
from tfllm.interop import model_folder
from tfllm.tasks import CausalLM


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(
        shutil.copytree(small_models.causal_lm(), tmp_path / "folder")
    )


def write(folder: pathlib.Path, text: str) -> None:
    (folder / "generation_config.json").write_text(text)


def test_sampled_beams(folder: pathlib.Path) -> None:
    values = {"do_sample": True, "num_beams": 3, "num_return_sequences": 2}
    write(folder, json.dumps({**values, "max_new_tokens": 4}))
    task = model_folder.load(folder)
    assert task.text.config.num_beams == 3
    assert len(task.generate(["it was"])) == 2
    (found,) = task.text(["it was"])
    assert len(found) == 2
    assert found[0].score >= found[1].score


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "must hold a JSON object"),
        (json.dumps({"do_sample": True, "temperature": "hot"}), "'hot'"),
        (json.dumps({"num_beams": 0}), "`num_beams`.*Received: 0"),
        (json.dumps({"num_beams": 2, "num_beam_groups": 9}), "multiple"),
        ('{"do_sample": true, "top_p": NaN}', "`top_p`.*nan"),
        # Also of a strategy that is not chosen.
        ('{"temperature": NaN}', "`temperature` must be a finite.*nan"),
        ('{"top_k": 1e9}', "`top_k` must be an integer.*1000000000.0"),
        ('{"length_penalty": "long"}', "`length_penalty`.*'long'"),
        ('{"eos_token_id": 99999}', "`eos_token_id` must be below.*99999"),
        ('{"suppress_tokens": [99999]}', "`suppress_tokens`.*99999"),
    ],
)
def test_only_generation_needs_a_valid_one(
    text: str,
    message: str,
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = tf.constant([[1, 2, 3]])
    expected = model_folder.load(folder)({"token_ids": ids})["clm"]
    write(folder, text)
    task = model_folder.load(folder)
    found = task({"token_ids": ids})["clm"]
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        ValueError, match=rf"generation_config\.json.*{message}"
    ) as error:
        task.generate(["it was"])
    assert str(error.value).count("Correct the file.") == 1
    assert str(error.value).count("generation_config.json") == 1
    assert ".." not in str(error.value)
    caplog.clear()
    model_folder.save(task, tmp_path / "copy", task.text.tokenizer)
    (line,) = caplog.messages
    assert "not copied" in line
    assert not (tmp_path / "copy/generation_config.json").exists()


def test_several_ids_end_a_text(tmp_path: pathlib.Path) -> None:
    """LLaMA 3 has them in both files, others in config.json alone."""
    tokenizer = small_models.byte_bpe()
    config = small_models.config_of("llama", tokenizer)
    model_folder.save(CausalLM(config), tmp_path, tokenizer)
    (tmp_path / "generation_config.json").unlink()
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "eos_token_id": [3, 4]}))
    task = model_folder.load(tmp_path)
    assert task.config.eos_token_id == 3
    assert task.text.config.eos_token_id == (3, 4)
    model_folder.save(task, tmp_path / "copy")
    written = json.loads((tmp_path / "copy/generation_config.json").read_text())
    assert written["eos_token_id"] == [3, 4]
    write(tmp_path, json.dumps({"eos_token_id": 5}))
    assert model_folder.load(tmp_path).text.config.eos_token_id == (5,)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (
            {"max_length": 50, "dola_layers": "high", "epsilon_cutoff": 0.0},
            "does not: max_length=50, dola_layers='high'",
        ),
        ({"use_cache": True, "transformers_version": "4.1", "top_k": 50}, None),
    ],
)
def test_other_fields_are_named_once(
    values: dict[str, Any],
    shown: str | None,
    folder: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(folder, json.dumps(values))
    model_folder.load(folder)
    if shown is None:
        assert not caplog.messages
        return
    (line,) = caplog.messages
    assert line.endswith(shown)
    assert "generation_config.json" in line
