"""Transformers on PyTorch, one CPU process.

Variants: `sdpa` and `eager` name the attention implementation; a `+compile`
suffix passes the model through torch.compile (needs a C++ compiler), and
`+grouped` fine-tunes on batches of about one length instead of random ones.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from tools.peers import batch as batches
from tools.peers import protocol, texts
from tools.peers.protocol import Work

# Key of a config class -> attribute of Work.
_ENCODER = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "dropout",
}
_KEYS = {
    "bert": _ENCODER,
    "albert": {**_ENCODER, "embedding_size": "embedding_size"},
    "gpt2": {
        "vocab_size": "vocab_size",
        "n_embd": "hidden_size",
        "n_layer": "num_layers",
        "n_head": "num_heads",
        "n_inner": "intermediate_size",
        "n_positions": "max_position_embeddings",
        "resid_pdrop": "dropout",
        "embd_pdrop": "dropout",
        "attn_pdrop": "dropout",
    },
    "llama": {
        "vocab_size": "vocab_size",
        "hidden_size": "hidden_size",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "intermediate_size": "intermediate_size",
        "max_position_embeddings": "max_position_embeddings",
    },
    "t5": {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_layers": "num_layers",
        "num_heads": "num_heads",
        "d_ff": "intermediate_size",
        "dropout_rate": "dropout",
    },
    "marian": {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "encoder_layers": "num_layers",
        "decoder_layers": "num_layers",
        "encoder_attention_heads": "num_heads",
        "decoder_attention_heads": "num_heads",
        "encoder_ffn_dim": "intermediate_size",
        "decoder_ffn_dim": "intermediate_size",
        "max_position_embeddings": "max_position_embeddings",
        "dropout": "dropout",
    },
}
# No token ends a text: all sides generate to the full length.
_NO_END = {
    "bos_token_id": None,
    "eos_token_id": None,
    "forced_eos_token_id": None,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
# Kind of work -> names of the library's class for pretraining or a task.
_CLASSES = {
    "mlm": {"bert": "BertForPreTraining", "albert": "AlbertForPreTraining"},
    "finetune": {"bert": "BertForSequenceClassification"},
}
_WRITERS = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "t5": "T5ForConditionalGeneration",
    "marian": "MarianMTModel",
}
_ENCODER_DECODERS = ("t5", "marian")


class TransformersSide:
    """Trains with torch.optim.AdamW, fused where this build has it on CPU."""

    def load(self) -> dict[str, str]:
        """Imports torch and transformers."""
        import torch
        import transformers

        # Classes are imported lazily; the import time must include one.
        from transformers import BertForPreTraining  # noqa: F401

        self.torch, self.transformers = torch, transformers
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def build(self, work: Work, variant: str) -> str:
        """Builds the model; for training also optimizer and batch."""
        torch = self.torch
        attention, _, option = variant.partition("+")
        torch.set_num_threads(work.threads)
        torch.manual_seed(work.seed)
        model = self._make_model(work, attention)
        if work.kind == "generate":
            self._prepare_generation(model.eval(), work)
            return "model.generate"
        model.train()
        self.parameters = list(model.parameters())
        self.optimizer, kind = self._make_optimizer(work)
        forward = torch.compile(model) if option == "compile" else model
        if work.kind == "finetune":
            note = self._prepare_fine_tuning(forward, work, option == "grouped")
        else:
            batch = self._make_batch(work)
            self._prepare_training(forward, itertools.repeat(batch), work)
            note = "logits at all positions"
        return f"{kind} AdamW, {note}"

    def _make_model(self, work: Work, attention: str) -> Any:
        names = {**_WRITERS, **_CLASSES.get(work.kind, {})}
        model_class = getattr(self.transformers, names[work.family])
        values = {
            key: getattr(work, name) for key, name in _KEYS[work.family].items()
        }
        if work.family in _WRITERS:
            values |= _NO_END
        config = model_class.config_class(**values)
        config._attn_implementation = attention
        return model_class(config)

    def _make_optimizer(self, work: Work) -> tuple[Any, str]:
        """Returns AdamW that decays matrices, but not biases and norms."""
        groups = [
            {
                "params": [p for p in self.parameters if p.ndim > 1],
                "weight_decay": work.weight_decay,
            },
            {
                "params": [p for p in self.parameters if p.ndim <= 1],
                "weight_decay": 0.0,
            },
        ]
        make = self.torch.optim.AdamW
        try:
            return make(
                groups, lr=work.learning_rate, eps=1e-6, fused=True
            ), "fused"
        except RuntimeError:
            return make(groups, lr=work.learning_rate, eps=1e-6), "plain"

    def _make_batch(self, work: Work) -> dict[str, Any]:
        import numpy as np

        if work.kind == "clm":
            # The library shifts the labels, so the last token has none.
            ids = batches.make_tokens(work)[:, :-1]
            arrays = {"input_ids": ids, "labels": ids}
        elif work.kind == "seq2seq":
            source_ids, target_ids = batches.make_pairs(work)
            arrays = {"input_ids": source_ids, "labels": target_ids}
        else:
            batch = batches.make_batch(work)
            # The library's loss ignores the label -100.
            labels = np.full(batch["token_ids"].shape, -100)
            np.put_along_axis(
                labels, batch["masked_positions"], batch["mlm"], axis=1
            )
            pairs = {
                "bert": "next_sentence_label",
                "albert": "sentence_order_label",
            }
            arrays = {
                "input_ids": batch["token_ids"],
                "token_type_ids": batch["segment_ids"],
                "attention_mask": batch["padding_mask"],
                "labels": labels,
                pairs[work.family]: batch["nsp"],
            }
        return {
            name: self.torch.from_numpy(array.astype("int64"))
            for name, array in arrays.items()
        }

    def _prepare_fine_tuning(
        self, forward: Any, work: Work, grouped: bool
    ) -> str:
        """Prepares the input as `Trainer` does; returns a note on it."""
        from transformers.trainer_pt_utils import LengthGroupedSampler

        read, labels = texts.read(work.text)
        tokenizer = self.transformers.BertTokenizer(work.vocabulary)
        encoded = tokenizer(read, truncation=True, max_length=work.seq_length)
        rows = [
            {**{name: encoded[name][i] for name in encoded}, "labels": label}
            for i, label in enumerate(labels)
        ]
        lengths = [len(ids) for ids in encoded["input_ids"]]
        sampler = LengthGroupedSampler(work.batch_size, lengths=lengths)
        loader = self.torch.utils.data.DataLoader(
            rows,
            work.batch_size,
            shuffle=not grouped,
            sampler=sampler if grouped else None,
            drop_last=True,
            collate_fn=self.transformers.DataCollatorWithPadding(tokenizer),
        )
        epochs = (iter(loader) for _ in itertools.count())
        self._prepare_training(
            forward, itertools.chain.from_iterable(epochs), work
        )
        order = "of about one length" if grouped else "in random order"
        return f"dynamic padding, {order}"

    def _prepare_training(
        self, forward: Any, data: Iterator[Any], work: Work
    ) -> None:
        clip = self.torch.nn.utils.clip_grad_norm_

        def step() -> float:
            loss = forward(**next(data)).loss
            loss.backward()
            clip(self.parameters, work.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            return float(loss.detach())

        self._step = step

    def _prepare_generation(self, model: Any, work: Work) -> None:
        prompts = self.torch.from_numpy(
            batches.make_tokens(work).astype("int64")
        )
        mask = self.torch.ones_like(prompts)
        # The output starts with the prompt, or with the decoder's first token.
        known = 1 if work.family in _ENCODER_DECODERS else prompts.shape[1]

        def generate() -> float:
            ids = model.generate(
                prompts,
                attention_mask=mask,
                max_new_tokens=work.new_tokens,
                num_beams=work.num_beams,
                do_sample=False,
            )
            return float(ids[:, known:].numel())

        self._step = generate

    def step(self) -> float:
        """Runs forward, backward, clipping and update; or `generate`."""
        return self._step()


if __name__ == "__main__":
    protocol.serve(TransformersSide)
