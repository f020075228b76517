"""The settings of a run: what the flags of the train verb become."""

import dataclasses
import math
from typing import Any, Literal

from tfllm import labelled_flags
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.config import LABELLED_TASKS, LabelledDataConfig
from tfllm.data.pretraining.causal import CausalDataConfig
from tfllm.data.pretraining.masking import MaskingConfig
from tfllm.data.pretraining.pipeline import DataConfig
from tfllm.data.tables.config import TableConfig
from tfllm.tasks.adversarial import Adversarial
from tfllm.training.optimizers import OptimizerConfig
from tfllm.training.schedules import Decay, ScheduleConfig
from tfllm.training.trainer import TrainerConfig

# Tasks with labels -> flags that say something to them only.
_LABELLED_FLAGS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("classification",): ("class_weights", "class_balanced"),
    ("classification", "multi_label", "tagging"): ("labels",),
    ("classification", "multi_label", "tagging", "multiple_choice"): (
        "label_smoothing",
    ),
    ("multi_label",): ("label_separator",),
    ("tagging",): ("predicate_column", "tag_scheme"),
    ("question_answering",): ("question_length",),
    ("embedding",): ("label_scale", "pooling", "temperature"),
    ("multiple_choice",): ("choice_columns",),
}

# The same for all tasks.
TASK_FLAGS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("masked_lm",): (
        "pair_objective",
        "masking",
        "mask_rate",
        "max_predictions",
        "dupe_factor",
        "short_seq_prob",
    ),
    ("causal_lm",): ("document_per", "isolate_documents", "eval_stride"),
    LABELLED_TASKS: tuple(
        {*labelled_flags.names()}.difference(*_LABELLED_FLAGS.values())
    ),
    **_LABELLED_FLAGS,
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
    model: str = ""
    init_from: str = ""
    tokenizer: str = ""
    dropout: float | None = None
    initializer_range: float | None = None
    max_positions: int = 0
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
    text_column: str = LabelledDataConfig.text_column
    text_pair_column: str = ""
    label_column: str = LabelledDataConfig.label_column
    id_column: str = ""
    predicate_column: str = ""
    tag_scheme: str = LabelledDataConfig.tag_scheme
    format: str = TableConfig.format
    delimiter: str = ""
    quotes: bool | None = None
    has_header: bool | None = None
    encoding: str = ""
    line_pattern: str = ""
    on_bad_record: str = TableConfig.on_bad_record
    stride: int | None = LabelledDataConfig.stride
    pad_to_max: bool = False
    labels: str = ""
    label_separator: str = LabelledDataConfig.label_separator
    choice_columns: str = ",".join(LabelledDataConfig.choice_columns)
    question_length: int = LabelledDataConfig.question_length
    label_scale: float = LabelledDataConfig.label_scale
    pooling: str = "mean"
    temperature: float = 0.05
    class_weights: str = ""
    class_balanced: bool = False
    label_smoothing: float = 0.0
    model_dir: str = ""
    batch_size: int = 32
    accumulation_steps: int = 1
    train_steps: int | None = None
    epochs: float | None = None
    optimizer: str = "bert_adam"
    learning_rate: float = 1e-4
    layer_decay: float = 1.0
    freeze: str = ""
    schedule: Decay = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    r_drop: float = 0.0
    adversarial: str = "none"
    adversarial_epsilon: float = Adversarial.epsilon
    adversarial_steps: int = Adversarial.steps
    adversarial_step_size: float = Adversarial.step_size
    adversarial_start_size: float = Adversarial.start_size
    precision: str = "float32"
    strategy: str = "auto"
    jit_compile: bool = False
    deterministic: bool = True
    seed: int = 0
    seeds: str = ""
    eval_every: float = 500
    eval_steps: int = 0
    checkpoint_every: float = 500
    keep_checkpoints: int = 2
    best_metric: str = ""
    early_stopping_patience: int = 0
    log_every: int = 20
    overwrite: bool = False

    @classmethod
    def from_record(cls, settings: dict[str, Any]) -> "RunConfig":
        """Returns what a run.json says; defaults where it is silent."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in settings.items() if k in names})

    @property
    def values(self) -> dict[str, Any]:
        """All flags by name, for the record in the run's folder."""
        return dataclasses.asdict(self)

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that decide the result of a run."""
        return {k: v for k, v in self.values.items() if k not in OPERATIONAL}

    @property
    def is_labelled(self) -> bool:
        """Whether the data has labels, and is no running text."""
        return self.task in LABELLED_TASKS

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The numbers in `seeds`.

        Raises:
            ValueError: They are no numbers, or one stands twice.
        """
        parts = [part.strip() for part in self.seeds.split(",") if part.strip()]
        numbers = [int(part) for part in parts if part.isdecimal()]
        if len(numbers) != len(parts) or len({*numbers}) != len(numbers):
            raise ValueError(
                "`seeds` must be different numbers, such as 1,2,3. "
                f"Received: {self.seeds!r}"
            )
        return tuple(numbers)

    def check(self) -> None:
        """Raises ValueError for flags that do not go together."""
        self._check_needed()
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
        if self.seed_list and not self.eval_files:
            raise ValueError(
                "`seeds` compares held-out figures and needs `eval_files`. "
                f"Received: seeds={self.seeds} and none. Add --eval_files=..., "
                "or train each with --seed."
            )
        if self.seed_list and self.strategy == "multi_worker":
            raise ValueError(
                "`seeds` does not go with --strategy=multi_worker, which is "
                "set up once per process: give each seed a run of its own. "
                f"Received: seeds={self.seeds}"
            )

    def _check_needed(self) -> None:
        """Raises ValueError for flags that are missing."""
        for name in ("model_dir", "train_files", "tokenizer"):
            from_folder = name == "tokenizer" and self.init_from
            if not getattr(self, name) and not from_folder:
                raise ValueError(
                    f"`{name}` is needed. Received: nothing; add --{name}=..."
                )
        if (self.train_steps is None) == (self.epochs is None):
            raise ValueError(
                "give one of `train_steps` and `epochs`. Received: "
                f"train_steps={self.train_steps}, epochs={self.epochs}"
            )
        if self.is_labelled:
            named_settings.check_label_column(self.task, self.label_column)
            named_settings.check_pair_column(self.task, self.text_pair_column)
        if self.corpus_source not in ("", "docstrings"):
            raise ValueError(
                "`corpus_source` must be 'docstrings' or empty. Received: "
                f"{self.corpus_source!r}"
            )

    def _check_task_flags(self) -> None:
        """Raises ValueError for flags that the other flags make idle."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        changed = {k for k, v in self.values.items() if v != defaults[k]}
        for tasks, names in TASK_FLAGS.items():
            for name in names:
                if self.task not in tasks and name in changed:
                    raise ValueError(
                        f"`{name}` goes with --task={' or '.join(tasks)}. "
                        f"Received: {name}={getattr(self, name)} with "
                        f"--task={self.task}"
                    )
        if self.adversarial == "none":
            for name in sorted(changed):
                if name.startswith("adversarial_"):
                    raise ValueError(
                        f"`{name}` goes with `adversarial`. Received: {name}="
                        f"{getattr(self, name)} with adversarial=none"
                    )

    def data(self) -> DataConfig | CausalDataConfig | LabelledDataConfig:
        """Returns how files become batches."""
        if self.is_labelled:
            return named_settings.data_config(self.values)
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

    def evaluation_data(
        self,
    ) -> DataConfig | CausalDataConfig | LabelledDataConfig:
        """Returns how held-out files become batches: one pass, as they are."""
        data = self.data()
        if isinstance(data, CausalDataConfig):
            return data
        if isinstance(data, LabelledDataConfig):
            return named_settings.evaluation_config(data)
        return dataclasses.replace(data, dupe_factor=1)

    @property
    def task_settings(self) -> dict[str, Any]:
        """Arguments of the task besides config and label names."""
        if self.task == "masked_lm":
            return {"pair_objective": self.pair_objective}
        if self.task == "embedding":
            return {
                "pooling": self.pooling,
                "temperature": self.temperature,
                "loss": "similarity" if self.label_column else "contrastive",
            }
        settings: dict[str, Any] = {}
        if self._has("label_smoothing"):
            settings["label_smoothing"] = self.label_smoothing
        if self.task == "tagging":
            settings["with_predicates"] = bool(self.predicate_column)
        return settings

    def _has(self, flag: str) -> bool:
        """Returns whether a flag of `TASK_FLAGS` goes with the task."""
        return any(
            flag in names and self.task in tasks
            for tasks, names in TASK_FLAGS.items()
        )

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
            r_drop=self.r_drop,
            adversarial=self._adversarial(),
            layer_decay=self.layer_decay,
            freeze=self.freeze,
            jit_compile=self.jit_compile,
            log_every=self.log_every,
            eval_every=self.eval_every,
            checkpoint_every=self.checkpoint_every,
            keep_checkpoints=self.keep_checkpoints,
            best_metric=self.best_metric,
            early_stopping_patience=self.early_stopping_patience,
        )

    def _adversarial(self) -> Adversarial | None:
        """Returns how token embeddings are shifted, if at all."""
        if self.adversarial == "none":
            return None
        return Adversarial(
            kind=self.adversarial,
            epsilon=self.adversarial_epsilon,
            steps=self.adversarial_steps,
            step_size=self.adversarial_step_size,
            start_size=self.adversarial_start_size,
        )
