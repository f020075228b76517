"""Texts and pairs of texts as rows of a model, in the graph.

What `tfllm.data` does with arrays for training and evaluation, with core ops
and by the same rules; the gate compares the two.
"""

import dataclasses

import tensorflow as tf

from tfllm.data.labelled.rows.row_layout import RowLayout
from tfllm.serving import windows
from tfllm.serving.served_task import Tensors


@dataclasses.dataclass(frozen=True)
class Rows:
    """Padded rows.

    Attributes:
        inputs: Of the model, int32 [R, T] each.
        owners: int64 [R], the text or pair of each; ascending.
        number: int64 [R], number of the window in its text.
        columns: int64 [R], where the text begins over which windows slide.
        starts: int64 [R], its first token that is shown.
        sizes: int64 [R], its tokens that are shown.
    """

    inputs: Tensors
    owners: tf.Tensor
    number: tf.Tensor
    columns: tf.Tensor
    starts: tf.Tensor
    sizes: tf.Tensor

    def shown(self) -> "Shown":
        """Returns the tokens of the moving text, those of all rows."""
        places = tf.ragged.range(tf.zeros_like(self.sizes), self.sizes)
        rows, left = places.value_rowids(), places.flat_values
        sources = tf.gather(self.starts, rows) + left
        own = tf.minimum(left, tf.gather(self.sizes, rows) - 1 - left)
        before = self._context(rows, rows - 1, sources)
        after = self._context(rows, rows + 1, sources)
        return Shown(
            rows,
            tf.gather(self.columns, rows) + left,
            sources,
            (own > before) & (own >= after),
        )

    def _context(
        self, rows: tf.Tensor, others: tf.Tensor, sources: tf.Tensor
    ) -> tf.Tensor:
        """Returns the context in other windows of the same text, else -1."""
        last = tf.size(self.owners, tf.int64) - 1
        inside = tf.clip_by_value(others, 0, tf.maximum(last, 0))
        exists = (inside == others) & (
            tf.gather(self.owners, inside) == tf.gather(self.owners, rows)
        )
        left = sources - tf.gather(self.starts, inside)
        right = tf.gather(self.sizes, inside) - 1 - left
        return tf.where(exists, tf.maximum(tf.minimum(left, right), -1), -1)


@dataclasses.dataclass(frozen=True)
class Shown:
    """Tokens of the text over which windows slide, once for each window.

    Attributes:
        rows: int64 [S], ascending.
        columns: int64 [S], where they stand in their row.
        sources: int64 [S], the number of each in its text.
        widest: bool [S], whether no other window shows the token with more
            context: the smaller number of tokens on its two sides. Of equal
            windows the first counts.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    sources: tf.Tensor
    widest: tf.Tensor

    def spread(self, values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """Returns values [S] where the tokens stand, else 0.

        Args:
            values: Of any dtype that has a 0.
            like: [R, T], for the shape.
        """
        places = tf.stack([self.rows, self.columns], axis=1)
        return tf.scatter_nd(places, values, tf.shape(like, tf.int64))


@dataclasses.dataclass(frozen=True)
class RowMaker:
    """How texts become rows.

    Attributes:
        layout: The special tokens.
        seq_length: Longest row.
        stride: Tokens from one window to the next; 0: the first only.
    """

    layout: RowLayout
    seq_length: int
    stride: int

    def __post_init__(self) -> None:
        """Raises ValueError if there is no room for text."""
        windows.stride_of(self.stride, self.budget(1))

    def budget(self, num_texts: int) -> int:
        """Returns the tokens of text in a row."""
        return self.seq_length - self.layout.num_special(num_texts)

    def single(self, ids: tf.RaggedTensor) -> Rows:
        """Returns the rows of texts, int32 ragged [B, (tokens)]."""
        lengths = ids.row_lengths()
        kept = tf.minimum(lengths, self.budget(1))
        return self._lay_out([ids], [kept], tf.zeros_like(lengths))

    def pair(self, first: tf.RaggedTensor, second: tf.RaggedTensor) -> Rows:
        """Returns the rows of pairs, cut longest-first.

        Windows slide over the second text if it does not fit, and else over
        the first.
        """
        kept = self._kept(first, second)
        moving = tf.cast(kept[1] < second.row_lengths(), kept[1].dtype)
        return self._lay_out([first, second], kept, moving)

    def cut_pair(self, first: tf.RaggedTensor, second: tf.RaggedTensor) -> Rows:
        """Returns a row for each pair; what does not fit is left out."""
        kept = self._kept(first, second)
        firsts = tf.range(tf.size(kept[0], tf.int64))
        texts = [
            _slices(text, firsts, tf.zeros_like(size), size)
            for text, size in zip((first, second), kept, strict=True)
        ]
        return self._lay_out(texts, kept, tf.zeros_like(firsts))

    def _kept(
        self, first: tf.RaggedTensor, second: tf.RaggedTensor
    ) -> list[tf.Tensor]:
        """Returns the tokens of each text in the first row, int64 [B]."""
        budget = self.budget(2)
        one, two = first.row_lengths(), second.row_lengths()
        half = tf.constant(budget // 2, one.dtype)
        shorter = tf.minimum(tf.minimum(one, two), half)
        longer = tf.minimum(tf.maximum(one, two), budget - shorter)
        return [
            tf.where(one > two, longer, shorter),
            tf.where(one > two, shorter, longer),
        ]

    def behind(
        self, first: tf.RaggedTensor, second: tf.RaggedTensor, limit: int
    ) -> Rows:
        """Returns rows of windows over the second text, behind the first.

        Args:
            first: Shown whole, up to `limit` tokens.
            second: What windows slide over.
            limit: Tokens of the first text at most.
        """
        budget = self.budget(2)
        one = tf.minimum(first.row_lengths(), min(limit, budget - 1))
        two = tf.minimum(second.row_lengths(), budget - one)
        return self._lay_out([first, second], [one, two], tf.ones_like(one))

    def from_ids(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        segment_ids: tf.Tensor | None = None,
    ) -> Tensors:
        """Returns the inputs for rows of ids, special tokens included."""
        ragged = {"token_ids": windows.unpad(token_ids, lengths)}
        if segment_ids is not None:
            ragged["segment_ids"] = windows.unpad(segment_ids, lengths)
        return self._pad(ragged)

    def _lay_out(
        self,
        texts: list[tf.RaggedTensor],
        kept: list[tf.Tensor],
        moving: tf.Tensor,
    ) -> Rows:
        """Lays windows over texts.

        Args:
            texts: One or two, int32 ragged [B, (tokens)].
            kept: int64 [B] each, tokens of the first window.
            moving: int64 [B], the text that windows slide over.
        """
        second = moving == 1
        total, size = texts[0].row_lengths(), kept[0]
        if len(texts) == 2:
            total = tf.where(second, texts[1].row_lengths(), total)
            size = tf.where(second, kept[1], size)
        step = tf.maximum(tf.minimum(tf.cast(self.stride, size.dtype), size), 1)
        counts = tf.ones_like(size)
        if self.stride:
            counts = 1 - (size - total) // step
        owners = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
        before = tf.cumsum(counts, exclusive=True)
        number = tf.range(tf.size(owners, tf.int64)) - tf.gather(before, owners)
        first = number * tf.gather(step, owners)
        shown = tf.minimum(
            tf.gather(total, owners) - first, tf.gather(size, owners)
        )
        pieces, moves = [], tf.gather(second, owners)
        for index, text in enumerate(texts):
            own = moves if index else ~moves
            pieces.append(
                _slices(
                    text,
                    owners,
                    tf.where(own, first, 0),
                    tf.where(own, shown, tf.gather(kept[index], owners)),
                )
            )
        columns = tf.fill(tf.shape(owners), len(self.layout.opens))
        columns = tf.cast(columns, tf.int64)
        if len(texts) == 2:
            behind = pieces[0].row_lengths() + len(self.layout.between)
            columns += tf.where(moves, behind, 0)
        return Rows(
            self._pad(self._with_specials(pieces)),
            owners,
            number,
            columns,
            first,
            shown,
        )

    def _with_specials(
        self, pieces: list[tf.RaggedTensor]
    ) -> dict[str, tf.RaggedTensor]:
        """Returns ragged rows with their special tokens."""
        layout, count = self.layout, pieces[0].nrows()

        def repeated(ids: tuple[int, ...]) -> tf.RaggedTensor:
            row = tf.constant(ids, tf.int32, shape=[1, len(ids)])
            return tf.RaggedTensor.from_tensor(tf.tile(row, [count, 1]))

        first = [repeated(layout.opens), pieces[0]]
        last = [repeated(layout.closes)]
        if len(pieces) == 2:
            first.append(repeated(layout.between))
            last = [pieces[1], *last]
        else:
            first, last = [*first, *last], []
        parts = [tf.concat(first, axis=1)]
        if last:
            parts.append(tf.concat(last, axis=1))
        rows = {"token_ids": tf.concat(parts, axis=1)}
        if layout.has_segments:
            segments = [
                part.with_flat_values(tf.fill(tf.shape(part.flat_values), i))
                for i, part in enumerate(parts)
            ]
            rows["segment_ids"] = tf.concat(segments, axis=1)
        elif not layout.closes:
            # One without any token still has a row.
            lengths = rows["token_ids"].row_lengths()
            empty = tf.cast(lengths == 0, tf.int64)
            pads = tf.fill([tf.reduce_sum(empty)], layout.pad)
            rows["token_ids"] = tf.concat(
                [
                    rows["token_ids"],
                    tf.RaggedTensor.from_row_lengths(pads, empty),
                ],
                axis=1,
            )
        return rows

    def _pad(self, rows: dict[str, tf.RaggedTensor]) -> Tensors:
        values = {"token_ids": self.layout.pad, "segment_ids": 0}
        return windows.pad(rows, values, self.seq_length)


def _slices(
    text: tf.RaggedTensor,
    owners: tf.Tensor,
    starts: tf.Tensor,
    sizes: tf.Tensor,
) -> tf.RaggedTensor:
    """Returns slices of rows: `sizes` tokens from `starts` on."""
    begins = tf.gather(text.row_starts(), owners) + starts
    places = tf.ragged.range(begins, begins + sizes)
    return places.with_flat_values(
        tf.gather(text.flat_values, places.flat_values)
    )
