"""Random requests against exports of all kinds, on a real process.

Few requests on three kinds by default; `--long` sends 500 to each kind. By
hand, on any server: `python -m tools.fuzz_server`.
"""

import pathlib
from collections.abc import Iterator

import pytest

from tests.server.test_under_fire import resident_mb
from tests.serving import small_models
from tests.serving.serve_process import HOST, ServeProcess
from tfllm.interop import model_folder
from tfllm.serving import archive, artefacts, storage
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.signatures import signatures
from tfllm.tokenizers import load_tokenizer
from tools.fuzz_server import Fuzzer

KINDS = {
    "tagging": ExportSettings(24, 8),
    "causal_lm": ExportSettings(max_new_tokens=4),
    "multiple_choice": ExportSettings(24),
    "masked_lm": ExportSettings(24),
    "classification": ExportSettings(24, 8),
    "pairs": ExportSettings(24, 8, pairs=True),
    "multi_label": ExportSettings(24, 8),
    "regression": ExportSettings(24, 8),
    "question_answering": ExportSettings(24, 8),
    "embedding": ExportSettings(24, 8),
    "seq2seq_lm": ExportSettings(24, max_new_tokens=4),
}
# Number of kinds, and of requests to each: short and long.
SCALES = {False: (3, 50), True: (len(KINDS), 500)}
# What kernels and arenas may take; a leak would be larger.
MOST_GROWTH_MB = 400


def write(kind: str, base: pathlib.Path) -> None:
    """Writes version 1 of an export, which no gate has seen."""
    folder = {
        "masked_lm": small_models.masked_lm,
        "causal_lm": small_models.causal_lm,
        "seq2seq_lm": lambda: small_models.of_family(
            base / "made", "t5", "seq2seq_lm"
        ),
        "pairs": lambda: small_models.labelled("classification"),
    }.get(kind, lambda: small_models.labelled(kind))()
    task, tokenizer = model_folder.load(folder), load_tokenizer(folder)
    served = signatures.serve(task, tokenizer, KINDS[kind], {})
    weights = list({id(w): w for w in task.weights}.values())
    stored = storage.store_all(weights, "float32", "none")
    archive.write(served, weights, stored, str(base / kind / "1"))
    artefacts.write_configs(base / kind, kind)


@pytest.fixture(scope="module")
def scale(request: pytest.FixtureRequest) -> tuple[list[str], int]:
    count, requests = SCALES[request.config.getoption("long")]
    return list(KINDS)[:count], requests


@pytest.fixture(scope="module")
def server(
    scale: tuple[list[str], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    base = tmp_path_factory.mktemp("fuzz")
    config = base / "models.config"
    entries = []
    for kind in scale[0]:
        write(kind, base)
        entries.append(
            f'config {{ name: "{kind}" base_path: "{base / kind}" }}'
        )
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with ServeProcess(base / "log", f"--model_config_file={config}") as process:
        for kind in scale[0]:
            process.wait_for(kind, 1, "AVAILABLE")
        yield process


@pytest.mark.dist
def test_random_requests_do_no_harm(
    server: ServeProcess, scale: tuple[list[str], int]
) -> None:
    kinds, requests = scale
    answered: set[str] = set()
    for kind in kinds:
        fuzzer = Fuzzer(
            f"{HOST}:{server.rest_port}", f"{HOST}:{server.grpc_port}", kind
        )
        before = resident_mb(server)
        outcome = fuzzer.run(requests, seed=0)
        fuzzer.close()
        print(f"{kind}: {outcome}")
        assert not outcome.harm
        assert outcome.codes.total() == requests
        assert outcome.codes["REST 400"] > requests // 4
        answered |= outcome.codes.keys()
        assert server.process.poll() is None
        assert resident_mb(server) - before < MOST_GROWTH_MB
    # Most are refused, but not all.
    assert {"REST 200", "gRPC OK"} <= answered
    assert server.stop() == 0
