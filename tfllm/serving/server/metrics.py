"""Counters and histograms under TensorFlow Serving's names, for Prometheus.

Reference: tensorflow/serving 2.20, util/prometheus_exporter.cc and
servables/tensorflow/util.cc.
"""

import bisect
import itertools
import threading
from collections.abc import Sequence

PATH = "/monitoring/prometheus/metrics"

# Scale of 10, power of 1.8, 33 buckets: about 20 minutes in microseconds.
LATENCIES = [10 * 1.8**i for i in range(32)]
COUNTS = [float(2**i) for i in range(14)]


class _Metric:
    """Values by the values of labels.

    Args:
        name: As in TensorFlow Serving, with slashes.
        labels: Their names.
    """

    def __init__(self, name: str, *labels: str) -> None:
        """See the class."""
        self.name = name.replace("/", ":")
        self.labels = labels
        self.lock = threading.Lock()

    def braces(self, values: Sequence[str], *more: str) -> str:
        """Returns the labels with their values."""
        pairs = [
            f'{label}="{_escaped(value)}"'
            for label, value in zip(self.labels, values, strict=True)
        ]
        return "{" + ",".join([*pairs, *more]) + "}"


def _escaped(value: str) -> str:
    escapes = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"))
    for plain, escaped in escapes:
        value = value.replace(plain, escaped)
    return value


class Counter(_Metric):
    """A number that grows."""

    def __init__(self, name: str, *labels: str) -> None:
        """See the class."""
        super().__init__(name, *labels)
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, count: int, *values: str) -> None:
        """Adds to the count of some labels."""
        with self.lock:
            self._counts[values] = self._counts.get(values, 0) + count

    def lines(self) -> list[str]:
        """Returns the lines of the page."""
        with self.lock:
            counts = sorted(self._counts.items())
        return [f"# TYPE {self.name} counter"] + [
            f"{self.name}{self.braces(values)} {count}"
            for values, count in counts
        ]


class Histogram(_Metric):
    """How often which sizes came.

    Args:
        name: As in TensorFlow Serving, with slashes.
        limits: Upper ends of all buckets but the last.
        labels: Their names.
    """

    def __init__(
        self, name: str, limits: Sequence[float], *labels: str
    ) -> None:
        """See the class."""
        super().__init__(name, *labels)
        self._limits = limits
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def add(self, size: float, *values: str) -> None:
        """Counts a size under some labels."""
        bucket = bisect.bisect_right(self._limits, size)
        with self.lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = ([0] * (len(self._limits) + 1), [0.0])
                self._cells[values] = cell
            cell[0][bucket] += 1
            cell[1][0] += size

    def lines(self) -> list[str]:
        """Returns the lines of the page."""
        with self.lock:
            cells = sorted(
                (values, list(counts), total[0])
                for values, (counts, total) in self._cells.items()
            )
        lines = [f"# TYPE {self.name} histogram"]
        ends = [*(f"{limit:g}" for limit in self._limits), "+Inf"]
        for values, counts, total in cells:
            sums = list(itertools.accumulate(counts))
            lines += [
                f"{self.name}_bucket"
                + self.braces(values, f'le="{end}"')
                + f" {count}"
                for end, count in zip(ends, sums, strict=True)
            ]
            lines += [
                f"{self.name}_sum{self.braces(values)} {total:.10g}",
                f"{self.name}_count{self.braces(values)} {sums[-1]}",
            ]
        return lines


class Metrics:
    """All metrics of a server."""

    def __init__(self) -> None:
        """See the class."""
        root = "/tensorflow/serving"
        self.requests = Counter(f"{root}/request_count", "model_name", "status")
        self.examples = Counter(f"{root}/request_example_count_total", "model")
        self.request_examples = Histogram(
            f"{root}/request_example_counts", COUNTS, "model"
        )
        self.request_latency = Histogram(
            f"{root}/request_latency",
            LATENCIES,
            "model_name",
            "API",
            "entrypoint",
        )
        self.runtime_latency = Histogram(
            f"{root}/runtime_latency",
            LATENCIES,
            "model_name",
            "API",
            "runtime",
        )
        self.warm_up_latency = Histogram(
            f"{root}/model_warmup_latency", LATENCIES, "model_path", "status"
        )
        self.queuing_latency = Histogram(
            f"{root}/batching_session/queuing_latency",
            LATENCIES,
            "thread_pool_name",
        )
        self.batch_sizes = Histogram(
            f"{root}/batching_session/processed_batch_size",
            COUNTS,
            "thread_pool_name",
        )

    def page(self) -> bytes:
        """Returns what Prometheus reads."""
        lines = [
            line for metric in vars(self).values() for line in metric.lines()
        ]
        return ("\n".join(lines) + "\n").encode()
