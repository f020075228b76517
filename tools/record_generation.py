"""Records the generations of a tiny random GPT-2 of Transformers.

    python -m tools.record_generation --output_dir=tests/testdata

Needs the extra `parity` (torch, transformers). The file holds the weights
("weights/...") and, in its metadata, config.json, the prompts, the ids for each
set of options, and the tokens that the filters of sampling keep.
"""

import json
import pathlib
from typing import Any

import numpy as np
from absl import flags as absl_flags

from tfllm.runs import flags

_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir", "tests/testdata", "Folder to write the recorded file to."
)
_SEED = absl_flags.DEFINE_integer(
    "seed", 0, "Seed of the weights and the prompts."
)

_CONFIG = {
    "vocab_size": 37,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_PROMPT_LENGTHS = (1, 2, 5, 9, 14, 17)
_NEW_TOKENS = 20

CASES: tuple[dict[str, Any], ...] = (
    {},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3, "repetition_penalty": 1.1},
    {"min_new_tokens": 12},
    {"suppress_tokens": [3, 7], "begin_suppress_tokens": [5]},
    {"bad_words_ids": [[4], [6, 8], [9, 2, 9]]},
    {"forced_eos_token_id": 1},
    *(
        {
            "num_beams": beams,
            "num_return_sequences": beams - 1,
            "length_penalty": penalty,
            "early_stopping": early,
        }
        for beams in (2, 4)
        for penalty in (0.6, 1.0, 2.0)
        for early in (True, False, "never")
    ),
    {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.2},
)
FILTERS: tuple[tuple[str, dict[str, float]], ...] = (
    ("TopKLogitsWarper", {"top_k": 5}),
    ("TopPLogitsWarper", {"top_p": 0.3}),
    ("TopPLogitsWarper", {"top_p": 0.9}),
    ("MinPLogitsWarper", {"min_p": 0.05}),
    ("TypicalLogitsWarper", {"mass": 0.2}),
    ("TypicalLogitsWarper", {"mass": 0.9}),
)


def main() -> None:
    """Records the model and all cases."""
    import safetensors.numpy
    import torch
    import transformers

    torch.manual_seed(_SEED.value)
    rng = np.random.default_rng(_SEED.value)
    config = transformers.GPT2Config(**_CONFIG)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")):
                parameter.copy_(0.35 * torch.randn_like(parameter))
    prompts = [
        rng.integers(2, _CONFIG["vocab_size"], length).tolist()
        for length in _PROMPT_LENGTHS
    ]
    cases = []
    for case in CASES:
        rows = []
        for prompt in prompts:
            ids = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=_NEW_TOKENS,
                do_sample=False,
                **case,
            )
            rows.append(ids[:, len(prompt) :].tolist())
        cases.append({"options": case, "sequences": rows})
    scores = 3.0 * rng.standard_normal((8, 50)).astype(np.float32)
    kept = []
    for name, options in FILTERS:
        warper = getattr(transformers, name)(**options)
        filtered = warper(None, torch.tensor(scores))
        mask = torch.isfinite(filtered).to(torch.uint8).tolist()
        kept.append({"name": name, "options": options, "kept": mask})
    path = pathlib.Path(_OUTPUT_DIR.value) / "generation_gpt2.safetensors"
    weights = {
        f"weights/{name}": np.ascontiguousarray(value.numpy())
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    safetensors.numpy.save_file(
        {**weights, "scores": scores},
        path,
        metadata={
            "config": config.to_json_string(use_diff=False),
            "new_tokens": str(_NEW_TOKENS),
            "prompts": json.dumps(prompts),
            "cases": json.dumps(cases),
            "filters": json.dumps(kept),
            "reference": json.dumps(
                {
                    "transformers": transformers.__version__,
                    "torch": torch.__version__,
                }
            ),
        },
    )
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    flags.run(main)
