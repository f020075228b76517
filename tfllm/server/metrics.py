"""Counters and histograms under TensorFlow Serving's names, for Prometheus.

Reference: tensorflow/serving 2.20, util/prometheus_exporter.cc and
servables/tensorflow/util.cc.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Counter, Histogram

from tfllm.server.statuses import ServingError

PATH = "/monitoring/prometheus/metrics"
_ROOT = ":tensorflow:serving:"

# Scale of 10, power of 1.8, 33 buckets: about 20 minutes in microseconds.
LATENCIES = [10 * 1.8**i for i in range(32)]
COUNTS = [float(2**i) for i in range(14)]


class Metrics:
    """All metrics of a server."""

    def __init__(self) -> None:
        # Name on the page -> metric.
        self.metrics: dict[str, Counter | Histogram] = {}
        self.requests = self._counter("request_count", "model_name", "status")
        self.examples = self._counter("request_example_count_total", "model")
        self.request_examples = self._histogram(
            "request_example_counts", COUNTS, "model"
        )
        self.request_latency = self._histogram(
            "request_latency", LATENCIES, "model_name", "API", "entrypoint"
        )
        self.runtime_latency = self._histogram(
            "runtime_latency", LATENCIES, "model_name", "API", "runtime"
        )
        self.warm_up_latency = self._histogram(
            "model_warmup_latency", LATENCIES, "model_path", "status"
        )
        self.queuing_latency = self._histogram(
            "batching_session:queuing_latency", LATENCIES, "thread_pool_name"
        )
        self.batch_sizes = self._histogram(
            "batching_session:processed_batch_size", COUNTS, "thread_pool_name"
        )

    def _counter(self, name: str, *labels: str) -> Counter:
        counter = Counter(_ROOT + name, "", labels, registry=None)
        self.metrics[_ROOT + name] = counter
        return counter

    def _histogram(
        self, name: str, limits: Sequence[float], *labels: str
    ) -> Histogram:
        histogram = Histogram(
            _ROOT + name, "", labels, buckets=limits, registry=None
        )
        self.metrics[_ROOT + name] = histogram
        return histogram

    @contextlib.contextmanager
    def counting(
        self, model: str, api: str, entry_point: str
    ) -> Iterator[None]:
        """Counts a request and its latency when the block ends.

        Args:
            model: Model name; "" for a model that does not exist.
            api: Method, such as "Predict".
            entry_point: "REST" or "GRPC".
        """
        start, code = time.perf_counter(), "OK"
        try:
            yield
        except ServingError as error:
            code = error.code
            raise
        finally:
            self.requests.labels(model, code).inc()
            self.request_latency.labels(model, api, entry_point).observe(
                (time.perf_counter() - start) * 1e6
            )

    def page(self) -> bytes:
        """Returns the metrics page that Prometheus reads.

        The library's own page adds `_total` to the names of counters;
        TensorFlow Serving does not.
        """
        lines = []
        for name, metric in self.metrics.items():
            for family in metric.collect():
                lines.append(f"# TYPE {name} {family.type}")
                lines += [
                    (name if family.type == "counter" else sample.name)
                    + _labels(sample.labels)
                    + f" {sample.value:.15g}"
                    for sample in family.samples
                    if not sample.name.endswith("_created")
                ]
        return ("\n".join(lines) + "\n").encode()


def _labels(labels: Mapping[str, str]) -> str:
    """Returns labels in braces; bucket limits in their shortest form."""
    pairs = []
    for name, value in labels.items():
        if name == "le" and value != "+Inf":
            value = f"{float(value):g}"
        for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
            value = value.replace(plain, escaped)
        pairs.append(f'{name}="{value}"')
    return "{" + ",".join(pairs) + "}"
