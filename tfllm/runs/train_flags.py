"""The flags of the train verb; `RunConfig` is what they become."""

from collections.abc import Callable

from absl import flags as absl_flags

from tfllm.data.corpus.sources import DOCUMENT_PER
from tfllm.data.denoising.config import DenoisingOptions
from tfllm.data.masked.config import MASKING_UNITS, PAIR_OBJECTIVES
from tfllm.learning import method_options
from tfllm.learning.methods import METHODS
from tfllm.learning.optimizer_config import DEFAULTS
from tfllm.learning.schedule_config import DECAYS
from tfllm.run_settings import FIELDS
from tfllm.runs import flag_help, labelled_flags
from tfllm.runs.flags import Group
from tfllm.runs.run_config import TASKS, RunConfig
from tfllm.training.trainer_config import STRATEGIES

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
POOLINGS = ("mean", "cls", "last")
FLAGS = absl_flags.FLAGS

# Title -> flag -> help text. The text names the default if it is not a value.
BEFORE_DATA = {
    "The run": {
        "model_dir": "Folder of the run: model, tokenizer, figures, logs, "
        "checkpoints. The same command resumes a run that was stopped. Needed.",
        "task": "Task to learn: causal_lm as of GPT-2, masked_lm as of BERT, "
        "permutation_lm as of XLNet, seq2seq_lm as of T5 and BART, "
        "replaced_token_detection as of ELECTRA, or one of those with labels.",
        "model": "FAMILY:SIZE of a fresh model, such as bert:tiny, bert:base "
        "or gpt2:small (an unknown size lists them all), or a config.json. "
        "Default: the model of --init_from, else bert:base.",
        "init_from": "Model folder, or id on the Hugging Face hub, whose "
        "weights the run starts from. Default: none, the weights are random.",
        "tokenizer": "Tokenizer folder, or its vocab.txt, tokenizer.json or "
        "tokenizer.model. Default: that of --init_from.",
        "lower_case": "Whether a WordPiece tokenizer lower-cases text; auto "
        "does as its files say, and a vocab.txt alone if it has no capitals.",
        "train_files": "Files to learn from: paths and globs, comma-separated, "
        "a folder of tools.prepare_data, or tfds:NAME/SPLIT. Needed.",
        "eval_files": "Held-out files, given in the same ways. Default: none, "
        "nothing is evaluated.",
        "train_steps": "Number of optimizer steps. Needed, unless --epochs is "
        "given.",
        "epochs": "Number of passes over the training examples. Needed, unless "
        "--train_steps is given.",
        "batch_size": "Number of examples per optimizer step, over all "
        "replicas.",
        "seq_length": "Largest number of tokens per row, special tokens "
        "included.",
        "learning_rate": "Learning rate at the end of the warm-up.",
        "seed": "Seed of the weights, the order of the examples, the masks and "
        "the dropout.",
        "seeds": "Several seeds, comma-separated, such as 1,2,3: one run each, "
        "in a folder each, and the mean of their figures. More may be added "
        "later. Default: none, one run with --seed.",
        "overwrite": "Delete the run in --model_dir, with its checkpoints, and "
        "begin anew.",
    },
    "Model": {
        "dropout": "Dropout rate of all layers, from 0 to below 1. Default: "
        "that of the model.",
        "initializer_range": "Standard deviation of fresh weights. Default: "
        "that of the model.",
        "max_positions": "Number of positions that a fresh model learns, which "
        "is its longest row; 0 for that of the model.",
        "freeze": "Parts that do not learn, comma-separated: embeddings, "
        "blocks such as 3 or 0-5, or transformer for all but the head. "
        "Default: none.",
    },
    "Running text, for tasks without labels": {
        "corpus_source": "Source of missing --train_files, --eval_files and "
        "--tokenizer, which are then built: docstrings, those of the installed "
        "Python packages. Default: nothing is built.",
        "vocab_size": "Number of tokens of a vocabulary that --corpus_source "
        "builds.",
        "pair_objective": "Question about two segments A and B, for masked_lm: "
        "nsp, is B the text behind A; sop, are A and B swapped; none, one "
        "segment and no question. Default: that of the model's family.",
        "masking": "Unit of masking: tokens, whole words, or spans of up "
        "to three words, five for permutation_lm.",
        "mask_rate": "Share of the tokens to mask, or to predict for "
        "permutation_lm, above 0 and below 1.",
        "max_predictions": "Largest number of masked tokens per row; 0 for "
        "--mask_rate times --seq_length, rounded up.",
        "dupe_factor": "Number of passes over text files per epoch, each with "
        "other pairs and masks.",
        "short_seq_prob": "Share of the documents, from 0 to 1, that give "
        "shorter rows of masked tokens.",
        "generator_size": "Heads of the generator as a share of the model's, "
        "above 0 and at most 1, for replaced_token_detection.",
        "document_per": "Document of a plain text file, for causal_lm and "
        "seq2seq_lm: text between blank lines, a line, or the file.",
        "isolate_documents": "Let tokens attend to those of their own document "
        "only, for causal_lm.",
        "eval_stride": "Number of tokens from one row of an evaluation to the "
        "next, for causal_lm; less than --seq_length gives each token more "
        "text before it; 0 for --seq_length.",
    },
}
AFTER_DATA = {
    "Learning from labels": {
        "labels": "Names of the labels, comma-separated, in the order of their "
        "ids and of vectors such as [1, 0]. Default: those in the training "
        "files, sorted.",
        "class_weights": "Weight of each label in the loss, as "
        "LABEL=WEIGHT,..., or balanced for weights in inverse proportion to "
        "the counts, for classification. Default: 1 each.",
        "class_balanced": "Draw each label equally often in training, for "
        "classification.",
        "label_smoothing": "Share of the target probability that is spread "
        "over all labels, from 0 to below 1.",
        "pooling": "Pooling of the token vectors, for embedding: their mean, "
        "the first one, or the last one.",
        "temperature": "Divisor of the cosines in the contrastive loss, for "
        "embedding without --label_column.",
    },
    "Optimization": {
        "optimizer": "Rule that updates the weights; bert_adam is AdamW "
        "without bias correction, as published for BERT.",
        "schedule": "How the learning rate falls after the warm-up.",
        "warmup": "Number of steps in which the learning rate rises from 0, or "
        "below 1 their share of the run.",
        "layer_decay": "Factor of the learning rate from one layer to the one "
        "below it, above 0 and at most 1.",
        "final_learning_rate": "Lowest learning rate after the warm-up, from 0 "
        "to --learning_rate. Default: 0.",
        "decay_steps": "Step at which a linear, cosine or polynomial schedule "
        "reaches the final learning rate, or below 1 the share of the run. "
        "Default: the end of the run.",
        "schedule_power": "Power of the polynomial schedule. Default: 2.",
        "step_boundaries": "Steps at which the step schedule lowers the "
        "learning rate, or below 1 shares of the run, comma-separated, such as "
        "0.8,0.9. Default: each quarter after the warm-up.",
        "step_factor": "Factor of the learning rate at each boundary of the "
        "step schedule, above 0 and at most 1. Default: 0.1.",
        "beta_1": "Decay of the first moment of the gradient, of the "
        "optimizers with moments, from 0 to below 1. Default: 0.9.",
        "beta_2": "Decay of the second moment of the gradient, of the "
        "optimizers with moments, from 0 to below 1. Default: 0.999.",
        "epsilon": "Number above 0, added to the root of the second moment, of "
        "the optimizers with moments. Default: 1e-6.",
        "momentum": "Share of the velocity that sgd keeps from step to step, "
        "from 0 to below 1. Default: 0.9.",
        "weight_decay": "Factor of the decoupled weight decay, which leaves "
        "out biases and normalizations.",
        "clip_norm": "Largest global norm of the gradients; 0 for no clipping.",
        "l1": "Factor of the sum of the absolute weights in the loss.",
        "l2": "Factor of the sum of the squared weights in the loss.",
        "accumulation_steps": "Number of parts that a batch is split into, to "
        "save memory; the resulting weights are the same.",
    },
    "Computation": {
        "precision": "Dtype policy of the computation; weights are always "
        "float32.",
        "strategy": "Strategy of tf.distribute: auto takes all GPUs of the "
        "machine, multi_worker the machines in the variable TF_CONFIG.",
        "jit_compile": "Compile the training steps with XLA.",
        "deterministic": "Compute so that the same flags give exactly the same "
        "losses.",
    },
    "Evaluation and output": {
        "eval_every": "Number of steps between two evaluations, or below 1 "
        "their share of the run.",
        "eval_steps": "Number of batches per evaluation; 0 for all.",
        "best_metric": "Held-out figure, such as accuracy or mlm_loss, by "
        "which the best model is kept instead of the last; an unknown one "
        "lists them all. Default: none, the last model is kept.",
        "early_stopping_patience": "Number of evaluations without a better "
        "--best_metric, or loss, after which the run ends; 0 for never.",
        "checkpoint_every": "Number of steps between two checkpoints, or below "
        "1 their share of the run.",
        "keep_checkpoints": "Number of the newest checkpoints that are kept.",
        "log_every": "Number of steps between two reports.",
        "license": "Licence of the model in its card (README.md), as the "
        "Hugging Face hub spells it, such as apache-2.0 or mit. Default: "
        "unknown.",
    },
}
CHOICES = {
    "lower_case": ("auto", "true", "false"),
    "task": sorted(TASKS),
    "pair_objective": PAIR_OBJECTIVES,
    "masking": MASKING_UNITS,
    "document_per": DOCUMENT_PER,
    "pooling": POOLINGS,
    "optimizer": sorted(DEFAULTS),
    "schedule": DECAYS,
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
}


def define() -> None:
    """Defines the flags."""
    for title, texts in BEFORE_DATA.items():
        Group(title).fields(FIELDS, texts, CHOICES)
    Group("Noise in running text, for seq2seq_lm").fields(
        FIELDS, flag_help.attributes(DenoisingOptions), {}
    )
    labelled_flags.define(Group("Labelled files"))
    for title, texts in AFTER_DATA.items():
        Group(title).fields(FIELDS, texts, CHOICES)
        if title == "Learning from labels":
            define_methods(Group("Ways of learning"))


def define_methods(group: Group) -> None:
    """Defines the options of all methods, with help from their docstrings."""
    for kind in METHODS.values():
        fields = method_options.flags_of(kind)
        texts = flag_help.attributes(kind)
        group.fields(
            fields, {flag: texts[f.name] for flag, f in fields.items()}, {}
        )


def read(
    pair_objective: Callable[[str, str], str] | None = None,
) -> RunConfig:
    """Returns what the flags say.

    Args:
        pair_objective: `starting_point.pair_objective`, which finds the
            default of `--pair_objective`. None to check the other flags
            before TensorFlow is imported.

    Raises:
        ValueError: Flags are missing or contradict each other.
    """
    values = {name: FLAGS[name].value for name in names()}
    is_given = FLAGS["pair_objective"].present
    if pair_objective and values["task"] == "masked_lm" and not is_given:
        values["pair_objective"] = pair_objective(
            values["model"], values["init_from"]
        )
    config = RunConfig.of(**values)
    config.check()
    return config


def names() -> tuple[str, ...]:
    """Returns the names of the flags."""
    return tuple(RunConfig().values)
