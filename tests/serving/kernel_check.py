"""Warms a version up as the server does, then sends texts of all lengths.

python kernel_check.py FOLDER WORDS prints what oneDNN says with DNNL_VERBOSE
set, and WARM where the warm-up ends.
"""

import sys

import numpy as np

from tfllm.server import servable, warm_up
from tfllm.server.deadlines import Deadline
from tfllm.server.inference import Inference
from tfllm.server.metrics import Metrics


def main(folder: str, words: int) -> None:
    metrics = Metrics()
    found = servable.load("m", 1, folder, None, metrics)
    warm_up.warm_up(found, folder, 1, metrics)
    print("WARM", flush=True)
    for count in range(words + 1):
        text = np.array([" ".join("b" * count)], object)
        Inference(metrics).predict(
            found, "", {"text": text}, (), Deadline(None)
        )
    found.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
