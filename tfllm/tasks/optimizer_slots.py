"""Builds the optimizer of a task: slots, weight decay, rates by layer."""

from tfllm.learning import depth
from tfllm.learning.gradients import is_decayed
from tfllm.tasks.contract import TaskContract


def prepare_optimizer(task: TaskContract) -> None:
    """Builds the slots of a task's optimizer.

    Args:
        task: Task with its optimizer and settings.

    Raises:
        ValueError: `layer_decay` with an optimizer that has only one learning
            rate.
    """
    wrapped = getattr(task.optimizer, "inner_optimizer", None)
    optimizer = wrapped or task.optimizer
    if not optimizer.built:
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in task.trainable_variables if not is_decayed(v)]
        )
    if task.settings.layer_decay != 1.0:
        if not hasattr(optimizer, "rate_factors"):
            raise ValueError(
                "`layer_decay` needs an optimizer of "
                "`tfllm.learning.optimizers` with one rate per weight: "
                "adamw, bert_adam, lamb or sgd. Received: "
                f"{type(optimizer).__name__}"
            )
        optimizer.rate_factors = depth.rate_factors(
            task, task.settings.layer_decay
        )
    # NOTE: the train step has summed the gradients over the replicas; Keras
    # would sum them again, after clipping.
    optimizer._all_reduce_sum_gradients = list
    with task.distribute_strategy.scope():
        task.optimizer.build(task.trainable_variables)
