"""The settings of a run, in sections: flags, run.json and code share them.

Each field of a section is a flag of the train verb, and an entry of the section
in run.json. This module does not import TensorFlow.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal, Self

from tfllm.data.corpus.sources import FilesConfig
from tfllm.data.denoising.config import DenoisingOptions
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.masked.config import (
    DEFAULT_PAIR_OBJECTIVE,
    InstanceSettings,
    MaskingConfig,
)
from tfllm.data.tables.config import TableConfig
from tfllm.learning import method_options
from tfllm.learning.methods import METHODS, Method
from tfllm.learning.optimizer_config import OptimizerOptions
from tfllm.learning.schedule_config import Decay, ScheduleOptions
from tfllm.learning.train_settings import StepOptions

# Flags that may change when a run resumes: its result does not depend on them.
OPERATIONAL = (
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "strategy",
    "license",
    "overwrite",
    "model_dir",
)


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The model, its tokenizer and its initial weights."""

    model: str = ""
    init_from: str = ""
    tokenizer: str = ""
    lower_case: str = "auto"
    dropout: float | None = None
    initializer_range: float | None = None
    max_positions: int = 0


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Training data and held-out data."""

    train_files: str = ""
    eval_files: str = ""
    seq_length: int = 128
    batch_size: int = 32
    eval_steps: int = 0


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """How running text becomes examples."""

    corpus_source: str = ""
    vocab_size: int = 8192
    pair_objective: Literal["nsp", "sop", "none"] = DEFAULT_PAIR_OBJECTIVE
    masking: str = MaskingConfig.unit
    mask_rate: float = MaskingConfig.rate
    max_predictions: int = 0
    dupe_factor: int = InstanceSettings.dupe_factor
    short_seq_prob: float = InstanceSettings.short_seq_prob
    generator_size: float = 0.25
    document_per: str = FilesConfig.document_per
    isolate_documents: bool = False
    eval_stride: int = 0


@dataclasses.dataclass(frozen=True)
class LabelledSettings:
    """How labelled files become examples, and how labels count."""

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


@dataclasses.dataclass(frozen=True)
class OptimizerSettings(OptimizerOptions):
    """The optimizer."""

    optimizer: str = "bert_adam"
    weight_decay: float = 0.01
    clip_norm: float = 1.0


@dataclasses.dataclass(frozen=True)
class ScheduleSettings(ScheduleOptions):
    """Length of the run, and the learning rate over its steps."""

    train_steps: int | None = None
    epochs: float | None = None
    learning_rate: float = 1e-4
    schedule: Decay = "linear"
    warmup: float = 0.1


@dataclasses.dataclass(frozen=True)
class ComputationSettings:
    """Precision, devices, compilation, determinism."""

    precision: str = "float32"
    strategy: str = "auto"
    jit_compile: bool = False
    deterministic: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Evaluations, checkpoints and reports.

    Attributes:
        eval_every: Number of steps between two evaluations, or below 1 the
            fraction of the steps of the run.
        best_metric: Metric that selects the model to keep; empty for the last
            model.
        early_stopping_patience: Number of evaluations without a better value
            before the run stops; 0 for never.
        checkpoint_every: Number of steps between two checkpoints, or below 1
            the fraction of the steps of the run.
        keep_checkpoints: Number of newest checkpoints to keep.
        log_every: Number of steps between two reports.
    """

    eval_every: float = 500
    best_metric: str = ""
    early_stopping_patience: int = 0
    checkpoint_every: float = 500
    keep_checkpoints: int = 2
    log_every: int = 20


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """All settings of a run.

    Attributes:
        task: Kind of task to learn.
        model_dir: Folder of the run.
        seed: Seed of all random numbers.
        seeds: Several seeds, comma-separated, for one run each.
        overwrite: Whether to delete the run in `model_dir`.
        license: Licence for the model card.
        methods: Training methods that are on.
    """

    task: str = "masked_lm"
    model_dir: str = ""
    seed: int = 0
    seeds: str = ""
    overwrite: bool = False
    license: str | None = None
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    text: TextSettings = TextSettings()
    denoising: DenoisingOptions = DenoisingOptions()
    labelled: LabelledSettings = LabelledSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    learning: StepOptions = StepOptions()
    computation: ComputationSettings = ComputationSettings()
    trainer: TrainerSettings = TrainerSettings()
    methods: tuple[Method, ...] = ()

    @classmethod
    def of(cls, **flags: Any) -> Self:
        """Returns the settings of flags.

        Args:
            **flags: Flags by name; missing ones take their defaults.

        Raises:
            TypeError: A flag is unknown.
            ValueError: An option of a method is wrong.
        """
        return cls().replace(**flags)

    @classmethod
    def from_record(cls, settings: Mapping[str, Any]) -> Self:
        """Returns the settings of a run.json.

        Args:
            settings: Entries by name. Missing flags take their defaults, and
                other names are ignored.
        """
        known = cls().values.keys()
        return cls.of(**{k: v for k, v in settings.items() if k in known})

    def replace(self, **flags: Any) -> Self:
        """Returns the settings with new values of some flags."""
        values = {**method_options.to_flags(self.methods), **flags}
        methods = method_options.from_flags(values)
        changes: dict[str, Any] = {"methods": methods}
        by_section: dict[str, dict[str, Any]] = {}
        for name in flags.keys() - method_options.names():
            section = _SECTION_OF.get(name)
            group = by_section.setdefault(section, {}) if section else changes
            group[name] = flags[name]
        # At once: a section may check that its fields agree.
        for section, fields in by_section.items():
            changes[section] = dataclasses.replace(
                getattr(self, section), **fields
            )
        return dataclasses.replace(self, **changes)

    @property
    def values(self) -> dict[str, Any]:
        """All flags by name, also those of methods that are off."""
        off = (kind() for kind in METHODS.values())
        return {
            **{name: self.value_of(name) for name in FIELDS},
            **method_options.to_flags((*off, *self.methods)),
        }

    def value_of(self, flag: str) -> Any:
        """Returns the value of a flag that belongs to no method."""
        section = _SECTION_OF.get(flag)
        return getattr(
            self if section is None else getattr(self, section), flag
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Flags that the result of the run depends on."""
        idle = (
            method_options.names()
            - method_options.to_flags(self.methods).keys()
        )
        return {
            name: value
            for name, value in self.values.items()
            if name not in idle and name not in OPERATIONAL
        }


# Sections of run.json, and their fields.
SECTIONS: dict[str, type] = {
    field.name: typing.cast(type, field.type)
    for field in dataclasses.fields(RunSettings)
    if dataclasses.is_dataclass(field.type)
}
METHODS_SECTION = "methods"
_SECTION_OF = {
    field.name: section
    for section, kind in SECTIONS.items()
    for field in dataclasses.fields(kind)
}
# Flags that belong to no method -> the fields they become.
FIELDS: "dict[str, dataclasses.Field[Any]]" = {
    field.name: field
    for kind in (RunSettings, *SECTIONS.values())
    for field in dataclasses.fields(kind)
    if field.name not in (*SECTIONS, METHODS_SECTION) or kind is not RunSettings
}


def types() -> dict[str, Any]:
    """Returns the types of the flags that a result depends on."""
    fields = {**FIELDS}
    for method in METHODS.values():
        fields |= method_options.flags_of(method)
    return {
        name: str if typing.get_origin(field.type) is Literal else field.type
        for name, field in fields.items()
        if name not in OPERATIONAL
    }


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings in the sections of run.json.

    Args:
        settings: Settings by flag; other names stay at the top level.
    """
    record: dict[str, Any] = {}
    for name, value in settings.items():
        if name in _SECTION_OF:
            record.setdefault(_SECTION_OF[name], {})[name] = value
        elif name not in method_options.names():
            record[name] = value
    methods = method_options.from_flags(settings)
    if methods:
        record[METHODS_SECTION] = method_options.to_record(methods)
    return record


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of a run.json by flag.

    Args:
        record: Entries by section, or flat as in earlier versions.

    Raises:
        ValueError: A method or an option is unknown.
    """
    settings: dict[str, Any] = {}
    for name, value in record.items():
        if not isinstance(value, dict):
            settings[name] = value
        elif name == METHODS_SECTION:
            settings |= method_options.to_flags(
                method_options.from_record(value)
            )
        elif name in SECTIONS:
            settings |= value
        else:
            settings[name] = value
    return settings


def without_idle(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings without the flags of methods that are off.

    Flags of methods that are on are complete, so that records of one run are
    equal.

    Args:
        settings: Settings by flag, of the right types.

    Raises:
        ValueError: An option is out of range.
    """
    names = method_options.names()
    others = {k: v for k, v in settings.items() if k not in names}
    methods = method_options.from_flags(settings)
    return {**others, **method_options.to_flags(methods)}
