"""tfllm and its peers, measured on the same work by `tools.benchmark`.

    python -m tools.benchmark                      # everything, ~15 minutes
    python -m tools.benchmark --work=import_time
    python -m tools.benchmark --work=bert_tiny_pretrain --side=tfllm,keras_hub

How a comparison is made
- Each side lives in its own virtual environment (`environments.py`, versions
  pinned in `sides.py`), made under `--env_dir` when it is missing.
- Each side is one small file that trains and generates the way its library's
  users would:
  `tfllm_side`, `transformers_side`, `keras_hub_side`, `official_side`. It
  runs as a worker process and answers JSON lines (`protocol.py`).
- A side may have variants (XLA on or off, which attention kernel). All are
  started and the fastest one is the side's figure; every one of them stands
  in the first-step table.
- The workers then take their steps in turns (A B C D A B C D ...), one busy
  while the rest wait, so that a drifting machine is unfair to nobody. The
  figure is the median over all rounds, after warm-up steps.
- The batch (`batch.py`) is the same for all: seeded random words, every token
  real, every masked slot used, 80 % of them [MASK].
- Fine-tuning is on real texts with each library's own input
  (`fine_tuning.py`): steps differ, so its figure is the mean rate.
- A side that fails is a row that says why.
- Serving (`serving.py`) starts each side's server on one model folder, ours by
  the serve verb, Transformers behind FastAPI (`transformers_server.py`); the
  servers answer in turns, all others waiting.

What is equal: shapes, float32, dropout 0.1 in every place the published model
has it, clipping to a global norm of 1.0, AdamW with decay, threads.
What is not, since the libraries differ: Transformers computes BERT's logits at
all positions; KerasHub has no next-sentence head; GELU is the form that each
library's BERT has (erf or tanh). The losses that Keras' train functions log
(tfllm, KerasHub) are running means: they fall later than the others'.

To add a peer: write `<peer>_side.py` (see `protocol.Side`), and one entry in
`sides.SIDES`.
"""
