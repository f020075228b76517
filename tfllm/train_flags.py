"""The flags of the train verb; `RunConfig` is what they become."""

import dataclasses

from absl import flags as absl_flags

from tfllm import labelled_flags
from tfllm.data.corpus.sources import DOCUMENT_PER
from tfllm.data.pretraining.masking import MASKING_UNITS
from tfllm.flags import Group
from tfllm.run_config import RunConfig
from tfllm.tasks import TASKS
from tfllm.tasks.adversarial import ADVERSARIES
from tfllm.training.distribution import STRATEGIES
from tfllm.training.optimizers import OPTIMIZERS
from tfllm.training.schedules import DECAYS

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
PAIR_OBJECTIVES = ("nsp", "sop", "none")
POOLINGS = ("mean", "cls", "last")
FLAGS = absl_flags.FLAGS

# Title -> the flags under it, by their names in RunConfig.
BEFORE_DATA = {
    "Model": {
        "task": "What to train for.",
        "model": "FAMILY:SIZE, or a config.json [that of --init_from, else "
        "bert:base].",
        "init_from": "Model folder or hub id to start from.",
        "tokenizer": "Folder, vocab.txt or tokenizer.json [that of "
        "--init_from].",
        "dropout": "Rate everywhere, instead of the model's.",
        "initializer_range": "Deviation of fresh weights, instead of the "
        "model's.",
        "max_positions": "Learned positions of a fresh model; 0: the model's.",
        "freeze": "Parts that do not learn: embeddings, blocks such as 0-5, "
        "or transformer; comma-separated.",
    },
    "Data": {
        "train_files": "Globs, comma-separated; or a folder of "
        "tools.prepare_data, or tfds:NAME/SPLIT.",
        "eval_files": "The same, held out.",
        "seq_length": "Tokens per example, at most.",
    },
    "Running text": {
        "corpus_source": "'docstrings': where --train_files, --eval_files or "
        "--tokenizer are missing, build them first from the installed "
        "packages.",
        "vocab_size": "Of a vocabulary built that way.",
        "pair_objective": "Sentence objective.",
        "masking": "Masked together.",
        "mask_rate": "Share of tokens to mask.",
        "max_predictions": "Masked slots; 0: ceil(mask_rate * seq_length).",
        "dupe_factor": "Passes over text files in an epoch.",
        "short_seq_prob": "Share of shortened examples.",
        "document_per": "What a document of a text file is, for causal_lm.",
        "isolate_documents": "Causal tokens see only their own document.",
        "eval_stride": "Causal evaluation: tokens between two windows; 0: "
        "seq_length.",
    },
}
AFTER_DATA = {
    "Learning from labels": {
        "labels": "Names in the order of their ids [those found, sorted].",
        "class_weights": "'balanced', or LABEL=WEIGHT,...",
        "class_balanced": "Draw each label equally often.",
        "pooling": "Of the tokens to a vector, for embedding.",
        "temperature": "Of embedding without --label_column: cosines are "
        "divided by it.",
        "label_smoothing": "Share of the target that all labels get.",
        "r_drop": "Factor of the divergence of two dropout passes.",
        "adversarial": "Shifts of the token embeddings.",
        "adversarial_epsilon": "Norm of a shift; freelb: at most, 0: any.",
        "adversarial_steps": "Ascents of freelb.",
        "adversarial_step_size": "Norm of an ascent of freelb.",
        "adversarial_start_size": "Norm of the random first shift of freelb.",
    },
    "Training": {
        "model_dir": "Folder of the run; rerun to resume.",
        "batch_size": "Examples per step, over all replicas.",
        "accumulation_steps": "Micro-batches per step.",
        "train_steps": "Steps of the run; or --epochs.",
        "epochs": "Passes over the examples.",
        "optimizer": "Update rule.",
        "learning_rate": "Peak.",
        "layer_decay": "Factor of the rate from a layer to the one below.",
        "schedule": "Decay after the warm-up.",
        "warmup": "Steps, or below 1 their fraction.",
        "weight_decay": "Decoupled; not on biases and norms.",
        "clip_norm": "Largest global gradient norm; 0: none.",
        "l1": "Factor of the L1 penalty.",
        "l2": "Factor of the L2 penalty.",
        "precision": "Of the computation.",
        "strategy": "tf.distribute strategy; multi_worker needs TF_CONFIG.",
        "jit_compile": "Compile the steps with XLA.",
        "deterministic": "Same flags, same losses.",
        "seed": "Of weights, order, masks and dropout.",
        "seeds": "Several, comma-separated: a run each, in a folder each. More "
        "may be added.",
    },
    "Evaluation and output": {
        "eval_every": "Steps between evaluations, or below 1 their fraction.",
        "eval_steps": "Batches of an evaluation; 0: all.",
        "checkpoint_every": "Steps between checkpoints, or their fraction.",
        "keep_checkpoints": "Newest checkpoints to keep.",
        "best_metric": "Keep the best model by it, not the last.",
        "early_stopping_patience": "Evaluations without gain; 0: never.",
        "log_every": "Steps between reports.",
        "overwrite": "Delete the run in --model_dir.",
    },
}
CHOICES = {
    "task": sorted(TASKS),
    "pair_objective": PAIR_OBJECTIVES,
    "masking": MASKING_UNITS,
    "document_per": DOCUMENT_PER,
    "pooling": POOLINGS,
    "adversarial": ("none", *sorted(ADVERSARIES)),
    "optimizer": sorted(OPTIMIZERS),
    "schedule": DECAYS,
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
}


def define() -> None:
    """Defines the flags."""
    for title, texts in BEFORE_DATA.items():
        Group(title).fields(RunConfig, texts, CHOICES)
    labelled_flags.define(Group("Labelled data"))
    for title, texts in AFTER_DATA.items():
        Group(title).fields(RunConfig, texts, CHOICES)


def read() -> RunConfig:
    """Returns what the flags say.

    Raises:
        ValueError: Flags are missing or contradict each other.
    """
    names = [field.name for field in dataclasses.fields(RunConfig)]
    config = RunConfig(**{name: FLAGS[name].value for name in names})
    config.check()
    return config
