"""Transformers' BertForPreTraining on PyTorch, one CPU process.

Variants: `sdpa` and `eager` name the attention implementation; a `+compile`
suffix passes the model through torch.compile (needs a C++ compiler).
"""

from typing import Any

from tools.peers import protocol
from tools.peers.protocol import Work


class TransformersSide:
    """Trains with torch.optim.AdamW, fused where this build has it on CPU."""

    def load(self) -> dict[str, str]:
        """Imports torch and transformers."""
        import torch
        import transformers

        # The class is what is lazily imported, and what takes the time.
        from transformers import BertConfig, BertForPreTraining

        self.torch = torch
        self.config_class = BertConfig
        self.model_class = BertForPreTraining
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def build(self, work: Work, variant: str) -> str:
        """Builds the model, the optimizer and the batch."""
        torch = self.torch
        attention, _, compiled = variant.partition("+")
        torch.set_num_threads(work.threads)
        torch.manual_seed(work.seed)
        config = self.config_class(
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
        self.model = self.model_class(config).train()
        self.parameters = list(self.model.parameters())
        self.optimizer, kind = self._make_optimizer(work)
        self.clip_norm = work.clip_norm
        self.batch = self._make_batch(work)
        self.forward = torch.compile(self.model) if compiled else self.model
        return f"{kind} AdamW, logits at all positions"

    def _make_optimizer(self, work: Work) -> tuple[Any, str]:
        """Decays matrices only: biases and norms are the vectors."""
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

        from tools.peers import batch as batches

        batch = batches.make_batch(work)
        # -100 is the label that the library's loss leaves out.
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

    def step(self) -> float:
        """Forward, backward, clip and update."""
        loss = self.forward(**self.batch).loss
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())


if __name__ == "__main__":
    protocol.serve(TransformersSide)
