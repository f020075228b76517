"""The flags of the train verb, and the typed settings they become."""

import dataclasses
import math
from typing import Any, Literal

from absl import flags as absl_flags

from tfllm.data.causal import CausalDataConfig
from tfllm.data.corpus_sources import DOCUMENT_PER
from tfllm.data.masking import MASKING_UNITS, MaskingConfig
from tfllm.data.pipeline import DataConfig
from tfllm.flags import Group
from tfllm.training.distribution import STRATEGIES
from tfllm.training.optimizers import OPTIMIZERS, OptimizerConfig
from tfllm.training.schedules import DECAYS, Decay, ScheduleConfig
from tfllm.training.trainer import TrainerConfig

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
TASK_NAMES = ("causal_lm", "masked_lm")
PAIR_OBJECTIVES = ("nsp", "sop", "none")
FLAGS = absl_flags.FLAGS

# Flags that say something about the data of one task only.
TASK_FLAGS = {
    "masked_lm": (
        "pair_objective",
        "masking",
        "mask_rate",
        "max_predictions",
        "dupe_factor",
        "short_seq_prob",
    ),
    "causal_lm": ("document_per", "isolate_documents", "eval_stride"),
}

# May change when a run is resumed; everything else decides its result.
OPERATIONAL = (
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "strategy",
    "overwrite",
    "model_dir",
)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What the flags of the same names say, checked for contradictions."""

    task: str = "masked_lm"
    model: str = "bert:base"
    init_from: str = ""
    tokenizer: str = ""
    dropout: float | None = None
    initializer_range: float | None = None
    train_files: str = ""
    eval_files: str = ""
    corpus_source: str = ""
    vocab_size: int = 8192
    seq_length: int = 128
    pair_objective: Literal["nsp", "sop", "none"] = "nsp"
    masking: str = "token"
    mask_rate: float = 0.15
    max_predictions: int = 0
    dupe_factor: int = 10
    short_seq_prob: float = 0.1
    document_per: str = "blank_line"
    isolate_documents: bool = False
    eval_stride: int = 0
    model_dir: str = ""
    batch_size: int = 32
    accumulation_steps: int = 1
    train_steps: int | None = None
    epochs: float | None = None
    optimizer: str = "bert_adam"
    learning_rate: float = 1e-4
    schedule: Decay = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    precision: str = "float32"
    strategy: str = "auto"
    jit_compile: bool = False
    deterministic: bool = True
    seed: int = 0
    eval_every: int = 500
    eval_steps: int = 0
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    best_metric: str = ""
    early_stopping_patience: int = 0
    log_every: int = 20
    overwrite: bool = False

    @classmethod
    def from_flags(cls) -> "RunConfig":
        """Reads the flags.

        Raises:
            ValueError: Flags are missing or contradict each other.
        """
        values = {f.name: FLAGS[f.name].value for f in dataclasses.fields(cls)}
        config = cls(**values)
        config._check()
        return config

    @classmethod
    def from_record(cls, settings: dict[str, Any]) -> "RunConfig":
        """Returns what a run.json says; defaults where it is silent."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in settings.items() if k in names})

    @property
    def values(self) -> dict[str, Any]:
        """All flags by name, for the record in the run's folder."""
        return dataclasses.asdict(self)

    def _check(self) -> None:
        """Raises ValueError for flags that do not go together."""
        for name in ("model_dir", "train_files", "tokenizer"):
            if not getattr(self, name):
                raise ValueError(
                    f"`{name}` is needed. Received: nothing; add --{name}=..."
                )
        if (self.train_steps is None) == (self.epochs is None):
            raise ValueError(
                "give one of `train_steps` and `epochs`. Received: "
                f"train_steps={self.train_steps}, epochs={self.epochs}"
            )
        if self.corpus_source not in ("", "docstrings"):
            raise ValueError(
                "`corpus_source` must be 'docstrings' or empty. Received: "
                f"{self.corpus_source!r}"
            )
        for name in ("best_metric", "early_stopping_patience"):
            if getattr(self, name) and not self.eval_files:
                raise ValueError(
                    f"`{name}` needs held-out data. Received: {name}="
                    f"{getattr(self, name)} without --eval_files"
                )
        for name in (
            "batch_size",
            "accumulation_steps",
            "seq_length",
            "train_steps",
            "epochs",
        ):
            if getattr(self, name) == 0:
                raise ValueError(f"`{name}` must be positive. Received: 0")
        for name, value in self.values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{name}` must be finite. Received: {value}")
        self._check_task_flags()
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                "`batch_size` must be a multiple of `accumulation_steps`, "
                f"{self.accumulation_steps}. Received: {self.batch_size}"
            )
        # Their own checks, before anything is read or built. How many steps
        # `epochs` are is not known yet, and only `warmup` depends on it.
        self.data()
        self.trainer(self.train_steps or max(1, math.ceil(self.warmup)))

    def _check_task_flags(self) -> None:
        """Raises ValueError for flags of another task."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for task, names in TASK_FLAGS.items():
            for name in names:
                value = getattr(self, name)
                if task != self.task and value != defaults[name]:
                    raise ValueError(
                        f"`{name}` goes with --task={task}. Received: {name}="
                        f"{value} with --task={self.task}"
                    )

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that decide the result of a run."""
        return {k: v for k, v in self.values.items() if k not in OPERATIONAL}

    def data(self) -> DataConfig | CausalDataConfig:
        """Returns how files become batches."""
        if self.task == "causal_lm":
            return CausalDataConfig(
                seq_length=self.seq_length,
                batch_size=self.batch_size,
                document_per=self.document_per,
                isolate_documents=self.isolate_documents,
                stride=self.eval_stride or None,
                seed=self.seed,
            )
        return DataConfig(
            seq_length=self.seq_length,
            batch_size=self.batch_size,
            pair_objective=self.pair_objective,
            masking=MaskingConfig(
                rate=self.mask_rate,
                max_predictions=self.max_predictions or None,
                unit=self.masking,
            ),
            seed=self.seed,
            dupe_factor=self.dupe_factor,
            short_seq_prob=self.short_seq_prob,
        )

    def evaluation_data(self) -> DataConfig | CausalDataConfig:
        """Returns how held-out files become batches: one pass."""
        data = self.data()
        if isinstance(data, CausalDataConfig):
            return data
        return dataclasses.replace(data, dupe_factor=1)

    def trainer(self, total_steps: int) -> TrainerConfig:
        """Returns the settings of the trainer."""
        return TrainerConfig(
            model_dir=self.model_dir,
            batch_size=self.batch_size,
            schedule=ScheduleConfig(
                peak=self.learning_rate,
                total_steps=total_steps,
                decay=self.schedule,
                warmup=self.warmup,
            ),
            optimizer=OptimizerConfig(
                name=self.optimizer,
                weight_decay=self.weight_decay,
                clip_norm=self.clip_norm,
            ),
            accumulation_steps=self.accumulation_steps,
            l1=self.l1,
            l2=self.l2,
            jit_compile=self.jit_compile,
            log_every=self.log_every,
            eval_every=self.eval_every,
            checkpoint_every=self.checkpoint_every,
            keep_checkpoints=self.keep_checkpoints,
            best_metric=self.best_metric,
            early_stopping_patience=self.early_stopping_patience,
        )


def define() -> None:
    """Defines the flags."""
    group = Group("Model")
    group.choice("task", RunConfig.task, TASK_NAMES, "What to train for.")
    group.string("model", RunConfig.model, "FAMILY:SIZE, or a config.json.")
    group.string(
        "init_from",
        RunConfig.init_from,
        "Model folder or hub id to start from.",
    )
    group.string(
        "tokenizer", RunConfig.tokenizer, "Folder, vocab.txt or tokenizer.json."
    )
    group.number(
        "dropout", RunConfig.dropout, "Rate everywhere, instead of the model's."
    )
    group.number(
        "initializer_range",
        RunConfig.initializer_range,
        "Deviation of fresh weights, instead of the model's.",
    )

    group = Group("Data")
    group.string(
        "train_files",
        RunConfig.train_files,
        "Text globs, comma-separated, or a folder of tools.prepare_data.",
    )
    group.string("eval_files", RunConfig.eval_files, "The same, held out.")
    group.string(
        "corpus_source",
        RunConfig.corpus_source,
        "'docstrings': where --train_files, --eval_files or --tokenizer are "
        "missing, build them first from the installed packages.",
    )
    group.integer(
        "vocab_size", RunConfig.vocab_size, "Of a vocabulary built that way."
    )
    group.integer("seq_length", RunConfig.seq_length, "Tokens per example.")
    group.choice(
        "pair_objective",
        RunConfig.pair_objective,
        PAIR_OBJECTIVES,
        "Sentence objective.",
    )
    group.choice(
        "masking", RunConfig.masking, MASKING_UNITS, "Masked together."
    )
    group.number("mask_rate", RunConfig.mask_rate, "Share of tokens to mask.")
    group.integer(
        "max_predictions",
        RunConfig.max_predictions,
        "Masked slots; 0: ceil(mask_rate * seq_length).",
    )
    group.integer(
        "dupe_factor",
        RunConfig.dupe_factor,
        "Passes over text files in an epoch.",
    )
    group.number(
        "short_seq_prob",
        RunConfig.short_seq_prob,
        "Share of shortened examples.",
    )
    group.choice(
        "document_per",
        RunConfig.document_per,
        DOCUMENT_PER,
        "What a document of a text file is, for causal_lm.",
    )
    group.boolean(
        "isolate_documents",
        RunConfig.isolate_documents,
        "Causal tokens see only their own document.",
    )
    group.integer(
        "eval_stride",
        RunConfig.eval_stride,
        "Causal evaluation: tokens between two windows; 0: seq_length.",
    )

    group = Group("Training")
    group.string(
        "model_dir", RunConfig.model_dir, "Folder of the run; rerun to resume."
    )
    group.integer(
        "batch_size",
        RunConfig.batch_size,
        "Examples per step, over all replicas.",
    )
    group.integer(
        "accumulation_steps",
        RunConfig.accumulation_steps,
        "Micro-batches per step.",
    )
    group.integer(
        "train_steps", RunConfig.train_steps, "Steps of the run; or --epochs."
    )
    group.number("epochs", RunConfig.epochs, "Passes over the examples.")
    group.choice(
        "optimizer", RunConfig.optimizer, sorted(OPTIMIZERS), "Update rule."
    )
    group.number("learning_rate", RunConfig.learning_rate, "Peak.")
    group.choice(
        "schedule", RunConfig.schedule, DECAYS, "Decay after the warm-up."
    )
    group.number(
        "warmup", RunConfig.warmup, "Steps, or below 1 their fraction."
    )
    group.number(
        "weight_decay",
        RunConfig.weight_decay,
        "Decoupled; not on biases and norms.",
    )
    group.number(
        "clip_norm",
        RunConfig.clip_norm,
        "Largest global gradient norm; 0: none.",
    )
    group.number("l1", RunConfig.l1, "Factor of the L1 penalty.")
    group.number("l2", RunConfig.l2, "Factor of the L2 penalty.")
    group.choice(
        "precision", RunConfig.precision, PRECISIONS, "Of the computation."
    )
    group.choice(
        "strategy", RunConfig.strategy, STRATEGIES, "tf.distribute strategy."
    )
    group.boolean(
        "jit_compile", RunConfig.jit_compile, "Compile the steps with XLA."
    )
    group.boolean(
        "deterministic", RunConfig.deterministic, "Same flags, same losses."
    )
    group.integer(
        "seed", RunConfig.seed, "Of weights, order, masks and dropout."
    )

    group = Group("Evaluation and output")
    group.integer(
        "eval_every", RunConfig.eval_every, "Steps between evaluations."
    )
    group.integer(
        "eval_steps", RunConfig.eval_steps, "Batches of an evaluation; 0: all."
    )
    group.integer(
        "checkpoint_every",
        RunConfig.checkpoint_every,
        "Steps between checkpoints.",
    )
    group.integer(
        "keep_checkpoints",
        RunConfig.keep_checkpoints,
        "Newest checkpoints to keep.",
    )
    group.string(
        "best_metric",
        RunConfig.best_metric,
        "Keep the best model by it, not the last.",
    )
    group.integer(
        "early_stopping_patience",
        RunConfig.early_stopping_patience,
        "Evaluations without gain; 0: never.",
    )
    group.integer("log_every", RunConfig.log_every, "Steps between reports.")
    group.boolean(
        "overwrite", RunConfig.overwrite, "Delete the run in --model_dir."
    )
