"""Keywords of Transformers' pipelines that are not supported here, and why."""

from collections.abc import Iterable

# Keyword -> what to do instead.
ELSEWHERE = {
    "add_special_tokens": "rows have the special tokens of the model",
    "align_to_words": "answers are spans of tokens",
    "args_parser": "inputs are read as `pipelines.inputs` says",
    "assistant_model": "use `task.generate(..., draft=...)`",
    "binary_output": "results are Python values",
    "clean_up_tokenization_spaces": "texts are as the tokenizer decodes them",
    "code_revision": "no code of a folder is run",
    "config": "the config.json of the model folder counts",
    "continue_final_message": "there are no chats",
    "device": "call the pipeline inside `with tf.device(...)`",
    "device_map": "call the pipeline inside `with tf.device(...)`",
    "doc_stride": "long contexts are read in windows, as in training",
    "documents": "there are no chats",
    "feature_extractor": "models read text",
    "framework": "models run on TensorFlow",
    "grouped_entities": "give `aggregation_strategy='simple'`",
    "handle_long_generation": "cut long prompts yourself",
    "ignore_subwords": "give `aggregation_strategy='first'`",
    "image_processor": "models read text",
    "local_files_only": "set the environment variable HF_HUB_OFFLINE=1",
    "max_length": "give `max_new_tokens`, or cut the texts yourself",
    "max_question_len": "questions are cut as in training",
    "max_seq_len": "rows are as long as in training",
    "model_kwargs": "give a task that `tfllm.load` built as `model`",
    "num_workers": "batches are made in this process",
    "offset_mapping": "offsets are those of the tokenizer",
    "padding": "batches are padded to their longest row",
    "pipeline_class": "derive a class from `pipelines.Pipeline`",
    "prefix": "put it in front of the prompts",
    "processor": "models read text",
    "return_all_scores": "give `top_k=None` for all scores, else `top_k=1`",
    "return_text": "give `return_full_text`",
    "return_type": "give `return_full_text`",
    "skip_special_tokens": "texts have no special tokens",
    "stop_sequence": "give `stop_strings`, a list",
    "stride": "long texts are read in overlapping windows anyway",
    "token": "log in with `hf auth login`, or set HF_TOKEN",
    "tokenize_kwargs": "give `truncation=True` to cut long texts",
    "tokenizer_encode_kwargs": "prompts have no special tokens",
    "tokenizer_kwargs": "give `truncation=True` where it is an option",
    "tools": "there are no chats",
    "topk": "give `top_k`",
    "torch_dtype": "give `dtype`, a policy such as 'mixed_bfloat16'",
    "truncation": "cut long texts yourself",
    "trust_remote_code": "no code of a folder is run",
    "use_fast": "there is one tokenizer of each kind",
    "video_processor": "models read text",
}


def refusal(name: str, unknown: Iterable[str], taken: Iterable[str]) -> str:
    """Returns the error message for keywords that a pipeline does not take.

    Args:
        name: Name of the pipeline.
        unknown: The keywords.
        taken: Keywords that the pipeline takes.
    """
    reasons = [
        f"`{word}` ({ELSEWHERE[word]})" if word in ELSEWHERE else f"`{word}`"
        for word in sorted(unknown)
    ]
    return (
        f"the pipeline {name!r} takes {', '.join(taken)}. "
        f"Received: {', '.join(reasons)}"
    )
