"""Transformers' BERT and GPT-2 on PyTorch, one CPU process.

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


class TransformersSide:
    """Trains with torch.optim.AdamW, fused where this build has it on CPU."""

    def load(self) -> dict[str, str]:
        """Imports torch and transformers."""
        import torch
        import transformers

        # Classes are imported lazily; the import time must include them.
        from transformers import (
            BertConfig,
            BertForPreTraining,
            BertForSequenceClassification,
            GPT2Config,
            GPT2LMHeadModel,
        )

        self.torch, self.transformers = torch, transformers
        self.bert = {
            "mlm": BertForPreTraining,
            "finetune": BertForSequenceClassification,
        }
        self.bert_config = BertConfig
        self.gpt2 = GPT2Config, GPT2LMHeadModel
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
        make = self._make_bert if work.kind in self.bert else self._make_gpt2
        model = make(work, attention)
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

    def _make_bert(self, work: Work, attention: str) -> Any:
        config = self.bert_config(
            vocab_size=work.vocab_size,
            hidden_size=work.hidden_size,
            num_hidden_layers=work.num_layers,
            num_attention_heads=work.num_heads,
            intermediate_size=work.intermediate_size,
            max_position_embeddings=work.max_position_embeddings,
            hidden_dropout_prob=work.dropout,
            attention_probs_dropout_prob=work.dropout,
        )
        config._attn_implementation = attention
        return self.bert[work.kind](config)

    def _make_gpt2(self, work: Work, attention: str) -> Any:
        config_class, model_class = self.gpt2
        config = config_class(
            vocab_size=work.vocab_size,
            n_embd=work.hidden_size,
            n_layer=work.num_layers,
            n_head=work.num_heads,
            n_inner=work.intermediate_size,
            n_positions=work.max_position_embeddings,
            resid_pdrop=work.dropout,
            embd_pdrop=work.dropout,
            attn_pdrop=work.dropout,
            # No token ends a text: all sides generate to the full length.
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
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
        else:
            batch = batches.make_batch(work)
            # The library's loss ignores the label -100.
            labels = np.full(batch["token_ids"].shape, -100)
            np.put_along_axis(
                labels, batch["masked_positions"], batch["mlm"], axis=1
            )
            arrays = {
                "input_ids": batch["token_ids"],
                "token_type_ids": batch["segment_ids"],
                "attention_mask": batch["padding_mask"],
                "labels": labels,
                "next_sentence_label": batch["nsp"],
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

        def generate() -> float:
            ids = model.generate(
                prompts,
                attention_mask=mask,
                max_new_tokens=work.new_tokens,
                do_sample=False,
            )
            return float(ids[:, prompts.shape[1] :].numel())

        self._step = generate

    def step(self) -> float:
        """Runs forward, backward, clipping and update; or `generate`."""
        return self._step()


if __name__ == "__main__":
    protocol.serve(TransformersSide)
