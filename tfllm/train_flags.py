"""The flags of the train verb, and the typed settings they become."""

import dataclasses
from typing import Any

from absl import flags as absl_flags

from tfllm.data.masking import MASKING_UNITS, MaskingConfig
from tfllm.data.pipeline import DataConfig
from tfllm.flags import Group
from tfllm.training.distribution import STRATEGIES
from tfllm.training.optimizers import OPTIMIZERS, OptimizerConfig
from tfllm.training.schedules import DECAYS, ScheduleConfig
from tfllm.training.trainer import TrainerConfig

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
TASK_NAMES = ("masked_lm",)
PAIR_OBJECTIVES = ("nsp", "sop", "none")
FLAGS = absl_flags.FLAGS

# May change when a run is resumed; everything else decides its result.
OPERATIONAL = (
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "strategy",
    "overwrite",
    "model_dir",
)


def define() -> None:
    """Defines the flags."""
    group = Group("Model")
    group.choice("task", "masked_lm", TASK_NAMES, "What to train for.")
    group.string("model", "bert:base", "FAMILY:SIZE, or a config.json.")
    group.string("init_from", "", "Model folder or hub id to start from.")
    group.string("tokenizer", "", "Folder or vocab.txt.")
    group.number("dropout", None, "Rate everywhere, instead of the model's.")

    group = Group("Data")
    group.string(
        "train_files",
        "",
        "Text globs, comma-separated, or a folder of tools.prepare_data.",
    )
    group.string("eval_files", "", "The same, held out.")
    group.string(
        "corpus_source",
        "",
        "'docstrings': where --train_files, --eval_files or --tokenizer are "
        "missing, build them first from the installed packages.",
    )
    group.integer("vocab_size", 8192, "Of a vocabulary built that way.")
    group.integer("seq_length", 128, "Tokens per example.")
    group.choice(
        "pair_objective", "nsp", PAIR_OBJECTIVES, "Sentence objective."
    )
    group.choice("masking", "token", MASKING_UNITS, "Masked together.")
    group.number("mask_rate", 0.15, "Share of tokens to mask.")
    group.integer(
        "max_predictions", 0, "Masked slots; 0: ceil(mask_rate * seq_length)."
    )
    group.integer("dupe_factor", 10, "Passes over text files in an epoch.")
    group.number("short_seq_prob", 0.1, "Share of shortened examples.")

    group = Group("Training")
    group.string("model_dir", "", "Folder of the run; rerun to resume.")
    group.integer("batch_size", 32, "Examples per step, over all replicas.")
    group.integer("accumulation_steps", 1, "Micro-batches per step.")
    group.integer("train_steps", None, "Steps of the run; or --epochs.")
    group.number("epochs", None, "Passes over the examples.")
    group.choice("optimizer", "bert_adam", sorted(OPTIMIZERS), "Update rule.")
    group.number("learning_rate", 1e-4, "Peak.")
    group.choice("schedule", "linear", DECAYS, "Decay after the warm-up.")
    group.number("warmup", 0.1, "Steps, or below 1 their fraction.")
    group.number("weight_decay", 0.01, "Decoupled; not on biases and norms.")
    group.number("clip_norm", 1.0, "Largest global gradient norm; 0: none.")
    group.number("l1", 0.0, "Factor of the L1 penalty.")
    group.number("l2", 0.0, "Factor of the L2 penalty.")
    group.choice("precision", "float32", PRECISIONS, "Of the computation.")
    group.choice("strategy", "auto", STRATEGIES, "tf.distribute strategy.")
    group.boolean("jit_compile", False, "Compile the steps with XLA.")
    group.boolean("deterministic", True, "Same flags, same losses.")
    group.integer("seed", 0, "Of weights, order, masks and dropout.")

    group = Group("Evaluation and output")
    group.integer("eval_every", 500, "Steps between evaluations.")
    group.integer("eval_steps", 0, "Batches of an evaluation; 0: all.")
    group.integer("checkpoint_every", 500, "Steps between checkpoints.")
    group.integer("keep_checkpoints", 2, "Newest checkpoints to keep.")
    group.string("best_metric", "", "Keep the best model by it, not the last.")
    group.integer(
        "early_stopping_patience", 0, "Evaluations without gain; 0: never."
    )
    group.integer("log_every", 20, "Steps between reports.")
    group.boolean("overwrite", False, "Delete the run in --model_dir.")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What the flags say, checked for contradictions.

    Attributes:
        values: All flags by name, for the record in the run's folder.
    """

    values: dict[str, Any]

    @classmethod
    def from_flags(cls) -> "RunConfig":
        """Reads the flags.

        Raises:
            ValueError: Flags are missing or contradict each other.
        """
        names = FLAGS.flag_values_dict()
        own = {flag.name for flag in FLAGS.get_flags_for_module(_module())}
        config = cls({k: v for k, v in names.items() if k in own})
        config._check()
        return config

    def __getattr__(self, name: str) -> Any:
        """Returns the value of a flag."""
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def _check(self) -> None:
        """Raises ValueError for flags that do not go together."""
        for name in ("model_dir", "train_files", "tokenizer"):
            if not self.values[name]:
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
            if self.values[name] and not self.eval_files:
                raise ValueError(
                    f"`{name}` needs held-out data. Received: {name}="
                    f"{self.values[name]} without --eval_files"
                )
        for name in ("batch_size", "accumulation_steps", "seq_length"):
            if not self.values[name]:
                raise ValueError(f"`{name}` must be at least 1. Received: 0")

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that decide the result of a run."""
        return {k: v for k, v in self.values.items() if k not in OPERATIONAL}

    def data(self, batch_size: int | None = None) -> DataConfig:
        """Returns how files become batches."""
        return DataConfig(
            seq_length=self.seq_length,
            batch_size=batch_size or self.batch_size,
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

    def evaluation_data(self) -> DataConfig:
        """Returns how held-out files become batches: one pass."""
        return dataclasses.replace(self.data(), dupe_factor=1)

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


def _module() -> str:
    """Returns the name absl files our flags under: that of Group."""
    return Group.__module__
