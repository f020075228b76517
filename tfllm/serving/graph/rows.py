"""Makes rows of a model from texts and pairs of texts, in the graph.

Core ops only, by the rules of `tfllm.data`, which does the same with arrays for
training and evaluation. The gate compares the two. Axes: B texts, R rows, T
tokens of a row, S tokens of the text that windows slide over, over all rows.
"""

import dataclasses

import tensorflow as tf

from tfllm.serving.graph import windows
from tfllm.serving.signatures.served_task import Tensors
from tfllm.tokenizers.row_template import RowTemplate


@dataclasses.dataclass(frozen=True)
class Rows:
    """Padded rows.

    Attributes:
        inputs: Inputs of the model, int32 [R, T] each.
        owners: int64 [R], index of the text or pair of each row; ascending.
        number: int64 [R], number of the window in its text.
        columns: int64 [R], column where the sliding text begins.
        starts: int64 [R], first token of the sliding text in the window.
        sizes: int64 [R], number of its tokens in the window.
    """

    inputs: Tensors
    owners: tf.Tensor
    number: tf.Tensor
    columns: tf.Tensor
    starts: tf.Tensor
    sizes: tf.Tensor

    def shown(self) -> "Shown":
        """Returns the tokens of the sliding text in all rows."""
        # [R, (tokens)] -> [S]
        places = tf.ragged.range(tf.zeros_like(self.sizes), self.sizes)
        rows, left = places.value_rowids(), places.flat_values
        sources = tf.gather(self.starts, rows) + left
        context = tf.minimum(left, tf.gather(self.sizes, rows) - 1 - left)
        before = self._context(rows, rows - 1, sources)
        after = self._context(rows, rows + 1, sources)
        return Shown(
            rows,
            tf.gather(self.columns, rows) + left,
            sources,
            (context > before) & (context >= after),
        )

    def _context(
        self, rows: tf.Tensor, others: tf.Tensor, sources: tf.Tensor
    ) -> tf.Tensor:
        """Returns the context of tokens in other windows, int64 [S].

        Args:
            rows: int64 [S], rows of the tokens.
            others: int64 [S], neighbouring rows.
            sources: int64 [S], positions of the tokens in their text.

        Returns:
            Number of tokens on the shorter side; -1 where the other row is of
            another text or lacks the token.
        """
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
    """Tokens of the sliding text, once for each window that holds them.

    Attributes:
        rows: int64 [S], row of each token; ascending.
        columns: int64 [S], column in the row.
        sources: int64 [S], position in the text.
        widest: bool [S], whether this window shows the token with the most
            context: the number of tokens on its shorter side. The first window
            wins ties.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    sources: tf.Tensor
    widest: tf.Tensor

    def spread(self, values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """Scatters values [S] to the tokens' places in rows [R, T], else 0.

        Args:
            values: [S], of a dtype with a zero.
            like: Tensor [R, T] that gives the shape.
        """
        places = tf.stack([self.rows, self.columns], axis=1)  # [S, 2]
        return tf.scatter_nd(places, values, tf.shape(like, tf.int64))


@dataclasses.dataclass(frozen=True)
class RowMaker:
    """Makes rows from texts.

    Attributes:
        template: Special tokens of a row.
        seq_length: Longest row in tokens.
        stride: Tokens from one window to the next; 0 for the first window only.
    """

    template: RowTemplate[int]
    seq_length: int
    stride: int

    def __post_init__(self) -> None:
        """Raises ValueError if a row has no room for text."""
        windows.stride_of(self.stride, self.budget(1))

    def budget(self, num_texts: int) -> int:
        """Returns the number of text tokens that fit into a row."""
        return self.seq_length - self.template.num_special(num_texts)

    def single(self, ids: tf.RaggedTensor) -> Rows:
        """Returns the rows of texts, int32 ragged [B, (tokens)]."""
        lengths = ids.row_lengths()
        kept = tf.minimum(lengths, self.budget(1))
        return self._make_rows([ids], [kept], tf.zeros_like(lengths))

    def pair(self, first: tf.RaggedTensor, second: tf.RaggedTensor) -> Rows:
        """Returns the rows of pairs, cut longest-first.

        Windows slide over the second text if it does not fit, else over the
        first.
        """
        kept = self._kept(first, second)
        sliding = tf.cast(kept[1] < second.row_lengths(), kept[1].dtype)
        return self._make_rows([first, second], kept, sliding)

    def cut_pair(self, first: tf.RaggedTensor, second: tf.RaggedTensor) -> Rows:
        """Returns a row for each pair, cut longest-first without windows."""
        kept = self._kept(first, second)
        firsts = tf.range(tf.size(kept[0], tf.int64))
        texts = [
            _slices(text, firsts, tf.zeros_like(size), size)
            for text, size in zip((first, second), kept, strict=True)
        ]
        return self._make_rows(texts, kept, tf.zeros_like(firsts))

    def _kept(
        self, first: tf.RaggedTensor, second: tf.RaggedTensor
    ) -> list[tf.Tensor]:
        """Returns the tokens of each text in the first row, int64 [B] each."""
        budget = self.budget(2)
        lengths = first.row_lengths()
        pair_lengths = second.row_lengths()
        half = tf.constant(budget // 2, lengths.dtype)
        shorter = tf.minimum(tf.minimum(lengths, pair_lengths), half)
        longer = tf.minimum(tf.maximum(lengths, pair_lengths), budget - shorter)
        first_is_longer = lengths > pair_lengths
        return [
            tf.where(first_is_longer, longer, shorter),
            tf.where(first_is_longer, shorter, longer),
        ]

    def behind(
        self, first: tf.RaggedTensor, second: tf.RaggedTensor, limit: int
    ) -> Rows:
        """Returns rows of the first text and a window of the second.

        Args:
            first: int32 ragged [B, (tokens)], in every row, up to `limit`
                tokens.
            second: int32 ragged [B, (tokens)], the text that windows slide
                over.
            limit: Most tokens of the first text.
        """
        budget = self.budget(2)
        kept = tf.minimum(first.row_lengths(), min(limit, budget - 1))
        window = tf.minimum(second.row_lengths(), budget - kept)
        return self._make_rows(
            [first, second], [kept, window], tf.ones_like(kept)
        )

    def from_ids(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        segment_ids: tf.Tensor | None = None,
    ) -> Tensors:
        """Returns the inputs of the model for rows of ids, [B, T] each.

        Args:
            token_ids: int32 [B, T], special tokens included.
            lengths: int32 [B], number of real ids in each row.
            segment_ids: int32 [B, T], if the model has segments.
        """
        ragged = {"token_ids": windows.unpad(token_ids, lengths)}
        if segment_ids is not None:
            ragged["segment_ids"] = windows.unpad(segment_ids, lengths)
        # Right padding, so that outputs keep the columns of the request.
        template = dataclasses.replace(self.template, padding_side="right")
        return windows.pad(ragged, template, self.seq_length)

    def _make_rows(
        self,
        texts: list[tf.RaggedTensor],
        kept: list[tf.Tensor],
        sliding: tf.Tensor,
    ) -> Rows:
        """Makes a row for each window.

        Args:
            texts: One or two texts, int32 ragged [B, (tokens)] each.
            kept: int64 [B] each, number of tokens in the first window.
            sliding: int64 [B], index of the text that windows slide over.
        """
        slides_second = sliding == 1
        total, size = texts[0].row_lengths(), kept[0]
        if len(texts) == 2:
            total = tf.where(slides_second, texts[1].row_lengths(), total)
            size = tf.where(slides_second, kept[1], size)
        step = tf.maximum(tf.minimum(tf.cast(self.stride, size.dtype), size), 1)
        counts = tf.ones_like(size)  # [B], windows of each text
        if self.stride:
            counts = 1 - (size - total) // step
        # [B] -> [R]
        owners = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
        before = tf.cumsum(counts, exclusive=True)
        number = tf.range(tf.size(owners, tf.int64)) - tf.gather(before, owners)
        first = number * tf.gather(step, owners)
        shown = tf.minimum(
            tf.gather(total, owners) - first, tf.gather(size, owners)
        )
        pieces, slides_second = [], tf.gather(slides_second, owners)
        for index, text in enumerate(texts):
            slides = slides_second if index else ~slides_second
            pieces.append(
                _slices(
                    text,
                    owners,
                    tf.where(slides, first, 0),
                    tf.where(slides, shown, tf.gather(kept[index], owners)),
                )
            )
        columns = tf.fill(tf.shape(owners), len(self.template.opens))
        columns = tf.cast(columns, tf.int64)
        if len(texts) == 2:
            behind = pieces[0].row_lengths() + len(self.template.between)
            columns += tf.where(slides_second, behind, 0)
        ragged = self.with_specials(pieces)
        inputs = self.pad(ragged)
        if self.template.padding_side == "left":
            width = tf.shape(inputs["token_ids"], tf.int64)[1]
            columns += width - ragged["token_ids"].row_lengths()
        return Rows(
            inputs,
            owners,
            number,
            columns,
            first,
            shown,
        )

    def with_specials(
        self, pieces: list[tf.RaggedTensor]
    ) -> dict[str, tf.RaggedTensor]:
        """Adds special tokens and segment ids to texts.

        Args:
            pieces: One or two texts, int32 ragged [R, (tokens)] each.

        Returns:
            `token_ids` and, if rows have them, `segment_ids`, int32 ragged
            [R, (tokens)].
        """
        template, count = self.template, pieces[0].nrows()

        def repeated(ids: tuple[int, ...]) -> tf.RaggedTensor:
            row = tf.constant(ids, tf.int32, shape=[1, len(ids)])
            # [1, ids] -> [R, ids]
            return tf.RaggedTensor.from_tensor(tf.tile(row, [count, 1]))

        first = [repeated(template.opens), pieces[0]]
        last = [repeated(template.closes)]
        if len(pieces) == 2:
            first.append(repeated(template.between))
            last = [pieces[1], *last]
        else:
            first, last = [*first, *last], []
        parts = [tf.concat(first, axis=1)]
        if last:
            parts.append(tf.concat(last, axis=1))
        rows = {"token_ids": tf.concat(parts, axis=1)}
        if template.segments is not None:
            segments = [
                part.with_flat_values(
                    tf.fill(
                        tf.shape(part.flat_values), template.segments.of_text(i)
                    )
                )
                for i, part in enumerate(parts)
            ]
            if template.closes and template.segments.last is not None:
                end = tf.fill([count, 1], template.segments.last)
                segments[-1:] = [segments[-1][:, :-1], end]
            rows["segment_ids"] = tf.concat(segments, axis=1)
        elif not template.num_special(1):
            # An empty text still needs one token in its row.
            lengths = rows["token_ids"].row_lengths()
            empty = tf.cast(lengths == 0, tf.int64)
            pads = tf.fill([tf.reduce_sum(empty)], template.pad)
            rows["token_ids"] = tf.concat(
                [
                    rows["token_ids"],
                    tf.RaggedTensor.from_row_lengths(pads, empty),
                ],
                axis=1,
            )
        return rows

    def pad(self, rows: dict[str, tf.RaggedTensor]) -> Tensors:
        """Returns dense rows and their `padding_mask`, [R, T] each."""
        return windows.pad(rows, self.template, self.seq_length)


def _slices(
    text: tf.RaggedTensor,
    owners: tf.Tensor,
    starts: tf.Tensor,
    sizes: tf.Tensor,
) -> tf.RaggedTensor:
    """Returns slices of texts, int32 ragged [R, (tokens)].

    Args:
        text: int32 ragged [B, (tokens)].
        owners: int64 [R], index of the text of each slice.
        starts: int64 [R], first token of each slice.
        sizes: int64 [R], number of tokens of each slice.
    """
    begins = tf.gather(text.row_starts(), owners) + starts
    places = tf.ragged.range(begins, begins + sizes)  # [R, (tokens)]
    return places.with_flat_values(
        tf.gather(text.flat_values, places.flat_values)
    )
