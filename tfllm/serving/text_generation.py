"""Causal language models: texts and how they go on, in one request."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.generation import GenerationConfig, generate
from tfllm.generation.decode import END, STOP, Steps
from tfllm.serving import continuation, probes, windows
from tfllm.serving.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    Check,
    ExportSettings,
    ServedFunction,
    Tensors,
    as_strings,
    id_arrays,
    strings,
    token_id_inputs,
)
from tfllm.serving.text_streaming import (
    STREAM,
    TextStreaming,
    can_stream,
    so_far,
)
from tfllm.tasks import CausalLM
from tfllm.tokenizers import ByteBPETokenizer

SAMPLE = "sample"
# Texts that the sampling signature is tried with.
NUM_DRAWN = 5
# Below it, sampling takes the most probable token.
LEAST_TEMPERATURE = 1e-4
OUTPUTS = {
    "text": "string [B]: what was generated, without the prompt; bytes that "
    "are not UTF-8 became U+FFFD",
    "token_ids": "int32 [B, max_new_tokens]: its ids, the end of text "
    "included, and padding",
    "lengths": "int32 [B]: tokens generated",
    "scores": "float32 [B]: sums of their log-probabilities",
    "finish_reasons": "string [B]: eos, stop or length",
    "num_prompt_tokens": "int32 [B]: tokens of the prompt that were read, the "
    "last ones",
}


class TextGenerationServing:
    """A causal language model that continues texts.

    The default is greedy; the signature "sample" draws, from a seed and with
    a temperature of each row: what a row gives depends on nothing else. The
    other settings are those of the folder's generation_config.json. Of a
    prompt that is too long the end is read. For servers that stream there is
    "stream", see `TextStreaming`.

    Args:
        task: The task, with its `text`.
        tokenizer: Its tokenizer.
        settings: `max_new_tokens`, `seq_length` and `top_k` count.

    Raises:
        ValueError: The settings do not fit the model, or nothing stands for
            an empty prompt.
    """

    def __init__(
        self,
        task: CausalLM,
        tokenizer: ByteBPETokenizer,
        settings: ExportSettings,
    ) -> None:
        """See the class."""
        self.task = task
        self.tokenizer = tokenizer
        assert task.text is not None
        config = task.text.config_of(task)
        self.greedy, self.sampling = configs_of(config, settings)
        self.length = task.row_length(settings.seq_length)
        self.max_new_tokens = self.greedy.max_new_tokens
        self.room = self.length - self.max_new_tokens
        if self.room < 1:
            raise ValueError(
                "`max_new_tokens` must leave room for a prompt in the "
                f"{self.length} positions of the model. Received: "
                f"{self.max_new_tokens}"
            )
        if self.greedy.bos_token_id is None:
            raise ValueError(
                "an export needs a `bos_token_id`, which stands for an empty "
                "prompt. Received: none. Add it to generation_config.json."
            )
        draws = {
            "seed": tf.TensorSpec([None], tf.int64, "seed"),
            "temperature": tf.TensorSpec([None], tf.float32, "temperature"),
        }
        self.functions = {
            DEFAULT: ServedFunction(self.from_text, strings("text"), OUTPUTS),
            SAMPLE: ServedFunction(
                self.sample, {**strings("text"), **draws}, OUTPUTS
            ),
            TOKEN_IDS: ServedFunction(
                self.from_ids, token_id_inputs(False), OUTPUTS
            ),
        }
        self.streaming: TextStreaming | None = None
        if can_stream(self.greedy):
            self.streaming = TextStreaming(self)
            self.functions[STREAM] = self.streaming.function

    def from_text(self, text: tf.Tensor) -> Tensors:
        """Continues texts, string [B], with the most probable tokens."""
        return self._generate(
            self.tokenizer.tokenize(text), Steps(**self._arguments(self.greedy))
        )

    def from_ids(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> Tensors:
        """Continues ids, int32 [B, T], of which `lengths` count."""
        return self._generate(
            windows.unpad(token_ids, lengths),
            Steps(**self._arguments(self.greedy)),
        )

    def sample(
        self, text: tf.Tensor, seed: tf.Tensor, temperature: tf.Tensor
    ) -> Tensors:
        """Continues texts with tokens that are drawn.

        Args:
            text: string [B].
            seed: int64 [B].
            temperature: float32 [B]; 0 takes the most probable token.
        """
        steps = Steps(**self._arguments(self.sampling))
        # Not below the least one, and NaN neither.
        warm = temperature > LEAST_TEMPERATURE
        divisor = tf.where(warm, temperature, LEAST_TEMPERATURE)[:, None]
        steps.filters.insert(0, lambda scores: scores / divisor)
        return self._generate(self.tokenizer.tokenize(text), steps, seed)

    def _arguments(self, config: GenerationConfig) -> dict[str, Any]:
        return {
            "model": self.task.model,
            "config": config,
            "room": self.max_new_tokens,
            "token_bytes": self.tokenizer.token_bytes,
        }

    def prompts(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Returns what is read of texts: their ends, or what begins one."""
        ids = continuation.last(ids, self.room)
        empty = tf.cast(ids.row_lengths() == 0, ids.row_splits.dtype)
        bos = tf.fill([tf.reduce_sum(empty)], self.greedy.bos_token_id)
        return tf.concat(
            [tf.RaggedTensor.from_row_lengths(bos, empty), ids], axis=1
        )

    def _generate(
        self, ids: tf.RaggedTensor, steps: Steps, seed: tf.Tensor | None = None
    ) -> Tensors:
        """Generates after ids, int32 ragged [B, (tokens)]."""
        ids = self.prompts(ids)
        state, tokens = continuation.continued(ids, steps, self.room, seed)
        generated = tf.RaggedTensor.from_tensor(tokens, state.lengths)
        reasons = tf.gather(_reasons(), state.finished)
        return {
            "text": self.tokenizer.detokenize(
                generated, skip_special_tokens=True, replace_invalid=True
            ),
            "token_ids": generated.to_tensor(
                steps.config.pad_id, shape=[None, self.max_new_tokens]
            ),
            "lengths": state.lengths,
            "scores": state.scores,
            "finish_reasons": reasons,
            "num_prompt_tokens": tf.cast(ids.row_lengths(), tf.int32),
        }

    def checks(self) -> list[Check]:
        """See ServedTask."""
        short, *long = probes.batches(probes.texts(self.room))
        expected = self._expected(short, self.greedy)
        rows = [self._ids(text) for text in short]
        found = [
            Check(DEFAULT, {"text": as_strings(short)}, expected),
            Check(TOKEN_IDS, id_arrays(rows, False), expected),
            self._drawn(short[:NUM_DRAWN]),
        ]
        if self.streaming is not None:
            found += self.streaming.checks(short, expected)
        # In Python at once, in the export one by one.
        texts = [text for (text,) in long]
        for text, one in zip(
            texts, self._expected(texts, self.greedy), strict=True
        ):
            found.append(Check(DEFAULT, {"text": as_strings([text])}, [one]))
        return found

    def python_decisions(self, texts: list[bytes]) -> list[np.ndarray]:
        """Returns the ids that Python generates for texts."""
        found = self._expected(texts, self.greedy)
        return [one["token_ids"] for one in found]

    def decision_request(self, texts: list[bytes]) -> Arrays:
        """Returns a request with texts, for `decisions`."""
        return {"text": as_strings(texts)}

    def decisions(self, answer: Arrays) -> list[np.ndarray]:
        """Returns the ids that an answer of the default signature has."""
        rows = zip(answer["token_ids"], answer["lengths"], strict=True)
        return [ids[:length] for ids, length in rows]

    def _drawn(self, texts: list[bytes]) -> Check:
        """Returns a request for samples, with those of Python."""
        seeds = np.arange(len(texts)) * 7 + 1
        config = self.sampling.replace(temperature=1.5)
        inputs: Arrays = {"text": as_strings(texts), "seed": seeds}
        inputs["temperature"] = np.full(len(texts), 1.5, np.float32)
        return Check(
            SAMPLE,
            inputs,
            [
                self._expected([text], config.replace(seed=seed))[0]
                for text, seed in zip(texts, seeds.tolist(), strict=True)
            ],
        )

    def warm_up(self) -> list[tuple[str, Arrays]]:
        """See ServedTask."""
        found: list[tuple[str, Arrays]] = []
        for text in [b"", *probes.by_length(self.room)]:
            texts: Arrays = {"text": as_strings([text])}
            row = self._ids(text)[-self.room :]
            draws: Arrays = {
                "seed": np.ones(1, np.int64),
                "temperature": np.ones(1, np.float32),
            }
            found.append((DEFAULT, texts))
            found.append((SAMPLE, {**texts, **draws}))
            found.append((TOKEN_IDS, id_arrays([row], False)))
            if self.streaming is not None:
                found.append((STREAM, {**texts, **so_far([row[:1]])}))
        return found

    def _ids(self, text: bytes) -> list[int]:
        return self.tokenizer.tokenize(tf.constant([text])).to_list()[0]

    def _expected(
        self, texts: list[bytes], config: GenerationConfig
    ) -> list[Arrays]:
        """Returns what `tfllm.generation` gives."""
        bos = config.bos_token_id
        assert bos is not None
        prompts = [self._ids(text)[-self.room :] or [bos] for text in texts]
        output = generate(
            self.task.model,
            prompts,
            config,
            token_bytes=self.tokenizer.token_bytes,
            max_length=self.length,
            jit_compile=False,
        )
        found = []
        for prompt, ids, score, reason in zip(
            prompts,
            output.sequences,
            output.scores,
            output.finish_reasons,
            strict=True,
        ):
            text = self.tokenizer.detokenize(
                tf.constant(ids, tf.int32), skip_special_tokens=True
            ).numpy()[0]
            valid = text.decode("utf-8", "replace").encode()
            found.append(
                {
                    "text": np.array(valid, object),
                    "token_ids": np.array(ids[0], np.int32),
                    "lengths": np.array(len(ids[0]), np.int32),
                    "scores": np.array(score[0], np.float32),
                    "finish_reasons": np.array(reason[0].encode(), object),
                    "num_prompt_tokens": np.array(len(prompt), np.int32),
                }
            )
        return found


def configs_of(
    config: GenerationConfig, settings: ExportSettings
) -> tuple[GenerationConfig, GenerationConfig]:
    """Returns the configs of the greedy and of the sampling signature.

    Args:
        config: That of the folder.
        settings: Of the export.
    """
    changes: dict[str, Any] = {
        "num_beams": 1,
        "num_beam_groups": 1,
        "diversity_penalty": 0.0,
        "length_penalty": 1.0,
        "early_stopping": False,
        "penalty_alpha": 0.0,
        "num_return_sequences": 1,
        "seed": 0,
    }
    if settings.max_new_tokens:
        changes["max_new_tokens"] = settings.max_new_tokens
        changes["min_new_tokens"] = min(
            config.min_new_tokens, settings.max_new_tokens
        )
    filters = {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "typical_p": 1.0,
    }
    greedy = config.replace(**changes, **filters, do_sample=False)
    changes["temperature"] = 1.0
    if settings.top_k:
        changes["top_k"] = settings.top_k
    return greedy, config.replace(**changes, do_sample=True)


def _reasons() -> tf.Tensor:
    """Returns the names of how a sequence ended, by number."""
    names = {0: "length", END: "eos", STOP: "stop"}
    return tf.constant([names[number] for number in sorted(names)])
