"""Measures tfllm and its peers on the same work, for `tools.benchmark`.

    python -m tools.benchmark                      # everything, ~15 minutes
    python -m tools.benchmark --work=import_time
    python -m tools.benchmark --work=bert_tiny_pretrain --side=tfllm,keras_hub

How sides are compared
- Each side has its own virtual environment (`environments.py`, versions pinned
  in `sides.py`), which is created under `--env_dir` if missing.
- Each side is one small file that trains and generates as users of its library
  would: `tfllm_side`, `transformers_side`, `keras_hub_side`, `official_side`.
  It runs as a worker process and answers JSON lines (`protocol.py`).
- A side may have variants (XLA on or off, attention kernels). All are started,
  and the fastest one is measured; the first-step table lists all of them.
- The workers take their steps in turns (A B C D A B C D ...), one at a time, so
  that changes of the machine's speed affect all sides alike. The figure is the
  median over all rounds, after warm-up steps.
- All sides get the same batch (`batch.py`): seeded random words, no padding,
  every masked slot used, 80 % of them [MASK].
- Fine-tuning uses real texts and each library's own input pipeline
  (`fine_tuning.py`). Steps differ in length, so the figure is the mean rate.
- A side that fails gets a row with the error.
- Serving (`serving.py`) starts the server of each side with the same model
  folder: the serve verb, and Transformers behind FastAPI
  (`transformers_server.py`). The servers answer in turns.

Equal on all sides: shapes, float32, dropout 0.1 wherever the published model
has it, clipping to a global norm of 1.0, AdamW with decay, threads.
Different, because the libraries differ: Transformers computes BERT's logits at
all positions; KerasHub has no next-sentence head; each library uses its own
form of GELU for BERT (erf or tanh). The losses that Keras' train functions log
(tfllm, KerasHub) are running means, so they fall later than the others'.

To add a peer, write `<peer>_side.py` (see `protocol.Side`) and an entry in
`sides.SIDES`.
"""
