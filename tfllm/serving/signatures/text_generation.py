"""Signatures of tasks that generate text, in one request."""

from typing import Any, cast

import numpy as np
import tensorflow as tf

from tfllm.generation import GenerationConfig
from tfllm.generation.decode import END, STOP, Steps
from tfllm.generation.generate import generate
from tfllm.serving import probes
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.graph import continuation, windows
from tfllm.serving.signatures.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    Check,
    IdLimits,
    ServedFunction,
    Tensors,
    as_strings,
    id_arrays,
    strings,
    token_id_inputs,
)
from tfllm.serving.signatures.text_streaming import (
    STREAM,
    TextStreaming,
    can_stream,
    so_far,
)
from tfllm.tasks import Task
from tfllm.tasks.prompts import prompts_of
from tfllm.tasks.text_generation import GeneratingTask
from tfllm.tokenizers import Tokenizer

SAMPLE = "sample"
# Number of texts that the gate tries sampling with.
NUM_DRAWN = 5
# At or below it, sampling takes the most probable token.
LEAST_TEMPERATURE = 1e-4
OUTPUTS = {
    "text": "string [B]: generated text, without the prompt; U+FFFD replaces "
    "bytes that are not UTF-8",
    "token_ids": "int32 [B, max_new_tokens]: generated ids, the end of text "
    "included, then padding",
    "lengths": "int32 [B]: number of generated tokens",
    "scores": "float32 [B]: sums of their log-probabilities",
    "finish_reasons": "string [B]: eos, stop or length",
    "num_prompt_tokens": "int32 [B]: number of prompt tokens that were read, "
    "counted from the end",
}


class TextGenerationServing:
    """Signatures of a task that continues texts, or writes them for sources.

    The default signature is greedy. "sample" draws with a seed and a
    temperature per row, so that a row does not depend on its batch. "stream"
    continues by a few tokens, see `TextStreaming`. Other settings come from the
    folder's generation_config.json. A prompt that is too long is cut, see
    `tfllm.tasks.prompts`.

    Args:
        task: The task, with its `text`.
        tokenizer: Tokenizer of the task.
        settings: Reads `max_new_tokens`, `seq_length` and `top_k`.

    Raises:
        ValueError: The settings do not fit the model, or the model has no
            `bos_token_id` to start an empty prompt with.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        settings: ExportSettings,
    ) -> None:
        self.task = task
        self.tokenizer = tokenizer
        text = cast(GeneratingTask, task).text
        assert text is not None
        config = text.config_for()
        self.greedy, self.sampling = configs_of(config, settings)
        self.reader = prompts_of(task.config, tokenizer)
        self.length = task.row_length(settings.seq_length)
        self.max_new_tokens = self.greedy.max_new_tokens
        self.room = self.reader.room(self.length, self.max_new_tokens)
        if self.room < 1:
            raise ValueError(
                "`max_new_tokens` must leave room for a prompt in the "
                f"{self.length} positions of the model. Received: "
                f"{self.max_new_tokens}"
            )
        limit = task.config.max_length
        if not self.reader.goes_on and limit and self.max_new_tokens >= limit:
            raise ValueError(
                f"`max_new_tokens` must be below {limit}, the positions of the "
                f"decoder. Received: {self.max_new_tokens}"
            )
        if self.reader.goes_on and self.greedy.bos_token_id is None:
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
                self.from_ids,
                token_id_inputs(False),
                OUTPUTS,
                # Longer rows are cut.
                IdLimits(task.config.vocab_size),
            ),
        }
        self.streaming: TextStreaming | None = None
        if self.reader.goes_on and can_stream(self.greedy):
            self.streaming = TextStreaming(self)
            self.functions[STREAM] = self.streaming.function

    def from_text(self, text: tf.Tensor) -> Tensors:
        """Generates for texts, string [B], greedily."""
        prompts = self.reader.read(text)
        return self._generate(prompts, self._steps(self.greedy))

    def from_ids(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> Tensors:
        """Generates for the first `lengths` ids of rows, int32 [B, T]."""
        prompts = windows.unpad(token_ids, lengths)
        return self._generate(prompts, self._steps(self.greedy))

    def sample(
        self, text: tf.Tensor, seed: tf.Tensor, temperature: tf.Tensor
    ) -> Tensors:
        """Generates for texts by sampling.

        Args:
            text: string [B].
            seed: int64 [B].
            temperature: float32 [B]; 0 takes the most probable token.
        """
        steps = self._steps(self.sampling)
        # The comparison is also False for NaN.
        is_valid = temperature > LEAST_TEMPERATURE
        divisor = tf.where(is_valid, temperature, LEAST_TEMPERATURE)
        divisor = divisor[:, None]  # [B, 1]
        steps.filters.insert(0, lambda scores: scores / divisor)
        return self._generate(self.reader.read(text), steps, seed)

    def _steps(self, config: GenerationConfig) -> Steps:
        return Steps(
            self.task.model,
            config,
            self.max_new_tokens,
            self.tokenizer.target.token_bytes,
        )

    def prompts(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Cuts prompts; one that is still empty becomes a BOS id.

        Args:
            ids: int32 ragged [B, (tokens)].
        """
        ids = self.reader.cut(ids, self.room)
        if self.greedy.bos_token_id is None:
            return ids
        empty = tf.cast(ids.row_lengths() == 0, ids.row_splits.dtype)
        bos = tf.fill([tf.reduce_sum(empty)], self.greedy.bos_token_id)
        return tf.concat(
            [tf.RaggedTensor.from_row_lengths(bos, empty), ids], axis=1
        )

    def _generate(
        self, ids: tf.RaggedTensor, steps: Steps, seed: tf.Tensor | None = None
    ) -> Tensors:
        """Generates after prompts.

        Args:
            ids: int32 ragged [B, (tokens)].
            steps: Chooses the tokens.
            seed: int64 [B], for sampling.
        """
        ids = self.prompts(ids)
        state, tokens = continuation.continued(ids, steps, self.room, seed)
        generated = tf.RaggedTensor.from_tensor(tokens, state.lengths)
        reasons = tf.gather(_reasons(), state.finished)
        return {
            "text": self.reader.spell(generated, replace_invalid=True),
            "token_ids": generated.to_tensor(
                steps.config.pad_id, shape=[None, self.max_new_tokens]
            ),
            "lengths": state.lengths,
            "scores": state.scores,
            "finish_reasons": reasons,
            "num_prompt_tokens": tf.cast(ids.row_lengths(), tf.int32),
        }

    def checks(self) -> list[Check]:
        """Returns requests with the answers of the Python task."""
        short, *long = probes.batches(probes.texts(self.room))
        expected = self._expected(short, self.greedy)
        rows = [self._ids(text) for text in short]
        checks = [
            Check(DEFAULT, {"text": as_strings(short)}, expected),
            Check(TOKEN_IDS, id_arrays(rows, False), expected),
            self._sample_check(short[:NUM_DRAWN]),
        ]
        if self.streaming is not None:
            checks += self.streaming.checks(short, expected)
        # One batch in Python, one request per text to the export.
        texts = [text for (text,) in long]
        for text, answer in zip(
            texts, self._expected(texts, self.greedy), strict=True
        ):
            inputs = {"text": as_strings([text])}
            checks.append(Check(DEFAULT, inputs, [answer]))
        return checks

    def python_decisions(self, texts: list[bytes]) -> list[np.ndarray]:
        """Returns the ids that the Python task generates for texts."""
        answers = self._expected(texts, self.greedy)
        return [answer["token_ids"] for answer in answers]

    def decision_request(self, texts: list[bytes]) -> Arrays:
        """Returns a request with texts, for `decisions`."""
        return {"text": as_strings(texts)}

    def decisions(self, answer: Arrays) -> list[np.ndarray]:
        """Returns the generated ids in an answer of the default signature."""
        rows = zip(answer["token_ids"], answer["lengths"], strict=True)
        return [ids[:length] for ids, length in rows]

    def _sample_check(self, texts: list[bytes]) -> Check:
        """Returns a request for samples with the answers of the Python task."""
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
        """Returns warm-up requests for every signature and several lengths."""
        requests: list[tuple[str, Arrays]] = []
        for text in [b"", *probes.by_length(self.room)]:
            texts: Arrays = {"text": as_strings([text])}
            row = self.reader.cut_row(self._ids(text), self.room)
            draws: Arrays = {
                "seed": np.ones(1, np.int64),
                "temperature": np.ones(1, np.float32),
            }
            requests.append((DEFAULT, texts))
            requests.append((SAMPLE, {**texts, **draws}))
            requests.append((TOKEN_IDS, id_arrays([row], False)))
            if self.streaming is not None:
                requests.append((STREAM, {**texts, **so_far([row[:1]])}))
        return requests

    def _ids(self, text: bytes) -> list[int]:
        return self.reader.read(tf.constant([text])).to_list()[0]

    def _expected(
        self, texts: list[bytes], config: GenerationConfig
    ) -> list[Arrays]:
        """Returns the answers of `tfllm.generation`."""
        rows = [
            self.reader.cut_row(self._ids(text), self.room) for text in texts
        ]
        bos = config.bos_token_id
        prompts = rows if bos is None else [row or [bos] for row in rows]
        # Sources were cut; new tokens have the positions of the model.
        goes_on = self.reader.goes_on
        limit = self.length if goes_on else self.task.config.max_length
        output = generate(
            self.task.model,
            prompts,
            config,
            token_bytes=self.tokenizer.target.token_bytes,
            max_length=limit,
            reads_sources=not self.reader.goes_on,
            jit_compile=False,
        )
        answers = []
        for prompt, ids, score, reason in zip(
            prompts,
            output.sequences,
            output.scores,
            output.finish_reasons,
            strict=True,
        ):
            text = self.reader.spell(
                tf.RaggedTensor.from_tensor(tf.constant(ids, tf.int32))
            ).numpy()[0]
            valid = text.decode("utf-8", "replace").encode()
            answers.append(
                {
                    "text": np.array(valid, object),
                    "token_ids": np.array(ids[0], np.int32),
                    "lengths": np.array(len(ids[0]), np.int32),
                    "scores": np.array(score[0], np.float32),
                    "finish_reasons": np.array(reason[0].encode(), object),
                    "num_prompt_tokens": np.array(len(prompt), np.int32),
                }
            )
        return answers


def configs_of(
    config: GenerationConfig, settings: ExportSettings
) -> tuple[GenerationConfig, GenerationConfig]:
    """Returns the configs of the greedy and of the sampling signature.

    Args:
        config: Config of the model folder.
        settings: Settings of the export.
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
    """Returns the names of finish reasons, by number."""
    names = {0: "length", END: "eos", STOP: "stop"}
    return tf.constant([names[number] for number in sorted(names)])
