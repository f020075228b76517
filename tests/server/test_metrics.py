"""The page of metrics, line by line."""

import threading

from tfllm.server.metrics import LATENCIES, Metrics


def lines_of(metrics: Metrics) -> list[str]:
    return metrics.page().decode().splitlines()


def test_an_unused_server_names_its_metrics() -> None:
    root = ":tensorflow:serving:"
    assert lines_of(Metrics()) == [
        f"# TYPE {root}request_count counter",
        f"# TYPE {root}request_example_count_total counter",
        f"# TYPE {root}request_example_counts histogram",
        f"# TYPE {root}request_latency histogram",
        f"# TYPE {root}runtime_latency histogram",
        f"# TYPE {root}model_warmup_latency histogram",
        f"# TYPE {root}batching_session:queuing_latency histogram",
        f"# TYPE {root}batching_session:processed_batch_size histogram",
    ]


def test_counters() -> None:
    metrics = Metrics()
    metrics.requests.labels("a", "OK").inc()
    metrics.requests.labels("a", "OK").inc(2**40)
    metrics.examples.labels('quoted "\\\n').inc(3)
    lines = lines_of(metrics)
    name = ":tensorflow:serving:request_count"
    assert f'{name}{{model_name="a",status="OK"}} {2**40 + 1}' in lines
    name = ":tensorflow:serving:request_example_count_total"
    assert f'{name}{{model="quoted \\"\\\\\\n"}} 3' in lines


def test_histograms() -> None:
    metrics = Metrics()
    latency = metrics.request_latency.labels("a", "Predict", "REST")
    for microseconds in (9.5, 10.5, 58.3, 1e12):
        latency.observe(microseconds)
    labels = 'model_name="a",API="Predict",entrypoint="REST"'
    name = ":tensorflow:serving:request_latency"
    lines = [line for line in lines_of(metrics) if line.startswith(name)]
    # 10 * 1.8**k, as TensorFlow Serving writes it.
    assert lines[:5] == [
        f'{name}_bucket{{{labels},le="10"}} 1',
        f'{name}_bucket{{{labels},le="18"}} 2',
        f'{name}_bucket{{{labels},le="32.4"}} 2',
        f'{name}_bucket{{{labels},le="58.32"}} 3',
        f'{name}_bucket{{{labels},le="104.976"}} 3',
    ]
    assert lines[-3:] == [
        f'{name}_bucket{{{labels},le="+Inf"}} 4',
        f"{name}_count{{{labels}}} 4",
        f"{name}_sum{{{labels}}} 1000000000078.3",
    ]
    assert len(lines) == len(LATENCIES) + 3


def test_many_threads_lose_no_count() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(1000):
            metrics.batch_sizes.labels("m").observe(4)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    name = ":tensorflow:serving:batching_session:processed_batch_size"
    assert f'{name}_count{{thread_pool_name="m"}} 8000' in lines_of(metrics)
