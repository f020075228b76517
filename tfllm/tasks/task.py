"""The base class of tasks: a Keras model with its objectives and losses.

`fit`, `evaluate` and `predict` are Keras' own; only the step that they call is
replaced. It computes the gradient of the global batch, as
`tfllm.learning.gradients` defines it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfllm.learning import depth
from tfllm.learning.gradients import (
    Gradients,
    after_update,
    sum_over_replicas,
)
from tfllm.learning.methods import Method
from tfllm.learning.train_settings import TrainSettings
from tfllm.models import TransformerConfig
from tfllm.tasks.batches import Sums, Tensors
from tfllm.tasks.contract import TaskContract
from tfllm.tasks.fit_inputs import Inputs, call_with_inputs
from tfllm.tasks.means import LANGUAGE_OBJECTIVES, Directions, Means
from tfllm.tasks.optimizer_slots import prepare_optimizer
from tfllm.tasks.read_batch import read_batch
from tfllm.tasks.step_function import step_function
from tfllm.tasks.summary import summary_table
from tfllm.tasks.targets import check_features
from tfllm.tasks.user_measures import UserMeasures, loss_sum
from tfllm.tokenizers.text_tokenizer import Tokenizer


class Task(TaskContract, keras.Model):
    """A model with its objectives, losses and metrics.

    A subclass implements `TaskContract` and `call` (features -> dict of
    outputs). Batches are (x, y, sample_weight), flat dicts of tensors with the
    same first axis. y and sample_weight have one entry per objective, or are
    bare tensors if there is one objective.

    Args:
        **kwargs: Keras' own `name`, `dtype` and `trainable`.
    """

    # Keras sets them; their types are ours.
    train_function: Any
    test_function: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = TrainSettings()
        # Functions: Keras would track what they return.
        self._tokenizer_of: Callable[[], Tokenizer | None] = lambda: None
        self._user_measures: Callable[[], UserMeasures | None] = lambda: None
        # Method -> its state, whose variables Keras tracks.
        self.method_state: dict[str, Any] = {}
        # Ids: Keras would track the variables as weights again.
        self.frozen: frozenset[int] = frozenset()
        # Input of the last calls of fit and evaluate, for reports.
        self.input_wait_seconds = 0.0
        self.tokens_seen = 0

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; Keras tracks all but the tokenizer."""
        if name == "tokenizer":
            # Checkpoints would contain the resources of its ops.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def create_model(
        self, model_class: Callable[..., Any], **options: Any
    ) -> None:
        """Creates the model and the metrics: the end of a constructor.

        Args:
            model_class: Class of the model; its first argument is `config`.
            **options: More arguments.
        """
        self.model = model_class(
            self.config, name="model", dtype=self.dtype_policy, **options
        )
        # That of the parts that the model has.
        self.config = self.model.config
        self.model.build()
        self.create_metrics()
        self.built = True

    def create_metrics(self) -> None:
        """Creates the running means that the logs show."""
        measures = self._user_measures()
        replaced = measures.losses if measures else {}
        self.means = Means(
            {name: self.measure_of(name) for name in self.objectives},
            {name: self.factor_of(name) for name in self.objectives},
            [
                name
                for name in self.objectives
                if name in LANGUAGE_OBJECTIVES and name not in replaced
            ],
            self.ratios,
        )

    def factor_of(self, objective: str) -> float:
        """Returns `share_of` times the `loss_weights` of compile."""
        measures = self._user_measures()
        weights = measures.loss_weights if measures else {}
        return self.share_of(objective) * weights.get(objective, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "config": self.config.to_dict(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """Builds the task from what `get_config` returned."""
        model = TransformerConfig.from_dict(config["config"])
        return cls(**{**config, "config": model})

    def compile(  # type: ignore[override]
        self,
        optimizer: Any = "adamw",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        *,
        jit_compile: bool = False,
        steps_per_execution: int = 1,
        **kwargs: Any,
    ) -> None:
        """Sets the optimizer, and optionally other losses and metrics.

        Args:
            optimizer: Keras optimizer, or its name.
            loss: Replaces the task's loss. It reads labels and outputs, which
                are logits for classes, and returns one value per label.
            loss_weights: Factors of the objectives' losses.
            metrics: Metrics beside the task's own, for all objectives or in
                a dict by objective. They ignore labels of weight 0 and count
                all others alike.
            weighted_metrics: Metrics that use the weights.
            jit_compile: Compile the steps with XLA.
            steps_per_execution: Number of batches between calls of callbacks.
            **kwargs: Fields of `TrainSettings`, such as
                `accumulation_steps`; options of methods by the names of their
                flags, such as `r_drop`; other arguments of
                `keras.Model.compile`.

        Raises:
            ValueError: A setting is not valid or needs another optimizer or
                task, or Keras' inexact `gradient_accumulation_steps` is set.
        """
        settings = TrainSettings.taken_from(kwargs)
        optimizer = keras.optimizers.get(optimizer)
        if getattr(optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "`optimizer.gradient_accumulation_steps` averages over "
                "batches and not over tokens; use `accumulation_steps` of "
                "compile. Received: "
                f"{optimizer.gradient_accumulation_steps}"
            )
        if not isinstance(steps_per_execution, int) or steps_per_execution < 1:
            raise ValueError(
                "`steps_per_execution` must be an integer of at least 1. "
                f"Received: {steps_per_execution!r}"
            )
        arguments = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        with self.distribute_strategy.scope():
            measures = UserMeasures(
                self.targets(), arguments, [m.name for m in self.means.metrics]
            )
        for method in settings.methods:
            if measures.metrics and not method.one_pass:
                raise ValueError(
                    f"`metrics` do not go with `{method.name}`, whose steps "
                    "have several forward passes. Leave them out, and "
                    "`evaluate`."
                )
        self.frozen = depth.freeze(self, settings.freeze, self.frozen)
        super().compile(
            optimizer=optimizer,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
            **kwargs,
        )
        self.settings = settings
        self._user_measures = lambda: measures
        with self.distribute_strategy.scope():
            self.create_metrics()
        self.attach(settings.methods)
        prepare_optimizer(self)

    def attach(self, methods: tuple[Method, ...]) -> None:
        """Sets the training methods, and adds their parts to the model.

        Args:
            methods: Methods of `compile`, or of the folder of the task.
        """
        self.settings = dataclasses.replace(self.settings, methods=methods)
        with self.distribute_strategy.scope():
            for method in methods:
                self.method_state[method.name] = method.attach(self)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the JSON form of the arguments of `compile`, if compiled."""
        measures = self._user_measures()
        if measures is None:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            **self.settings.to_dict(),
            "jit_compile": self.jit_compile,
            "run_eagerly": self.run_eagerly,
            "steps_per_execution": self.steps_per_execution,
            **{k: serialize(v) for k, v in measures.arguments.items()},
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` returned."""
        others = dict(config)
        settings = TrainSettings.taken_from(others)
        others = {
            name: keras.saving.deserialize_keras_object(value)
            for name, value in others.items()
        }
        self.compile(**others, **vars(settings))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means, and the user's metrics; reset by Keras."""
        measures = self._user_measures()
        metrics = list(self.means.metrics)
        if measures is not None:
            metrics += measures.metrics
        return [*metrics, Directions(metrics)]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the values that `evaluate` returns, in its order."""
        return [metric.name for metric in self.metrics[:-1]]

    def measured_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns `objective_sums` with the losses of `compile`.

        Updates the metrics of `compile` as well.

        Args:
            y: Labels by objective.
            outputs: What `call` returned.
            sample_weight: float32 weights by objective.
        """
        sums = self.objective_sums(y, outputs, sample_weight)
        measures = self._user_measures()
        if measures is None:
            return sums
        for metric in measures.metrics:
            metric.update_state(y, outputs, sample_weight)
        for name, loss in measures.losses.items():
            total = loss_sum(loss, y[name], outputs[name], sample_weight[name])
            sums[name] = (total, sums[name][1])
        return sums

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Trains the task, as `keras.Model.fit` does.

        Args:
            x: Arrays of features by name; for a task with a tokenizer texts,
                or a tuple of two for pairs of texts; or a tf.data.Dataset,
                PyDataset or generator of such batches.
            y: Labels: arrays by objective, or a bare array if there is one
                objective. Classes are integers or names of labels; -100
                leaves a position out.
            *args: Further arguments of `keras.Model.fit`.
            **kwargs: Further arguments of `keras.Model.fit`, by name.
                `class_weight` may name labels.

        Raises:
            ValueError: The task does not take x, y or an argument.
        """
        return call_with_inputs(self, super().fit, x, y, args, kwargs)

    def evaluate(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Returns loss and metrics, as `keras.Model.evaluate` does.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            *args: Further arguments of `keras.Model.evaluate`.
            **kwargs: Further arguments of `keras.Model.evaluate`, by name.
        """
        return call_with_inputs(self, super().evaluate, x, y, args, kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns the outputs of `call` for all rows, as arrays.

        Args:
            x: As in `fit`.
            *args: Further arguments of `keras.Model.predict`.
            **kwargs: Further arguments of `keras.Model.predict`, by name.
        """
        x, _, _ = Inputs(self, learns=False).prepare(x)
        return super().predict(x, *args, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Trains on one batch, as `keras.Model.train_on_batch` does."""
        batch = Inputs(self, class_weight).prepare(x, y, sample_weight)
        return super().train_on_batch(*batch, return_dict=return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Returns the metrics of a batch, as `keras.Model.test_on_batch`."""
        batch = Inputs(self).prepare(x, y, sample_weight)
        return super().test_on_batch(*batch, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the outputs for a batch as arrays."""
        x, _, _ = Inputs(self, learns=False).prepare(x)
        return super().predict_on_batch(x)

    def predict_step(self, data: Any) -> Tensors:
        """Returns the outputs for a batch."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        check_features(x, self.feature_names)
        return self(x, training=False)

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints the parts of the model and their parameters.

        Args:
            *args: Arguments of `keras.Model.summary`.
            **kwargs: Arguments of `keras.Model.summary`, by name.
        """
        if args or kwargs.keys() - {"print_fn"}:
            super().summary(*args, **kwargs)
        else:
            kwargs.get("print_fn", print)(summary_table(self))

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Raises NotImplementedError: use the export verb."""
        raise NotImplementedError(
            "a SavedModel of tfllm takes texts, and is tried before it is "
            "used. Write the model with `tfllm.save(task, folder)` and run "
            "`python -m tfllm.export --model_dir=folder --export_dir=...`."
        )

    def train_step(self, data: Any) -> Tensors:
        """Updates the weights once; returns the running means."""
        gradients = Gradients(self, self.settings)
        computed = gradients.of_batch(*read_batch(self, data))
        self.optimizer.apply(computed.gradients, self.trainable_variables)
        after_update(self, self.settings)
        return self._logs(computed.sums, computed.totals, computed.penalty)

    def test_step(self, data: Any) -> Tensors:
        """Adds a batch to the running means and returns them."""
        x, y, weights = read_batch(self, data)
        sums = self.measured_sums(y, self(x, training=False), weights)
        totals = {
            name: tf.reduce_sum(weights[name]) for name in self.objectives
        }
        sums, totals = sum_over_replicas(
            self.distribute_strategy, (sums, totals)
        )
        return self._logs(sums, totals)

    def _logs(self, sums: Sums, totals: Tensors, penalty: Any = 0.0) -> Tensors:
        """Adds a batch to the running means and returns them."""
        self.means.update(sums, totals, penalty)
        return self.get_metrics_result()

    def make_train_function(self, force: bool = False) -> Any:
        """Returns the function that `fit` calls with its iterator."""
        if self.train_function is None or force:
            self.train_function = step_function(self, self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Returns the function that `evaluate` calls with its iterator."""
        if self.test_function is None or force:
            self.test_function = step_function(self, self.test_step)
        return self.test_function

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the constructor built all weights.

        NOTE: Keras would average the first batch over the replicas, which
        fails for integers and for several workers.
        """
