"""Runs one command and prints what it cost, as a line of JSON.

    python -m tools.peers.measured OUT.json COMMAND...

A process of its own, because the peak memory that the kernel reports for a
child starts from that of the process it was forked from: this one is small.
"""

import json
import os
import resource
import subprocess
import sys
import time


def main(arguments: list[str]) -> int:
    """Runs the command.

    Args:
        arguments: path of the report, then the command.

    Returns:
        The command's exit status.
    """
    report, *command = arguments
    began = time.perf_counter()
    status = subprocess.run(command, check=False).returncode
    seconds = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    with open(report, "w", encoding="utf-8") as output:
        json.dump(
            {
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_rss_bytes": usage.ru_maxrss * unit,
            },
            output,
        )
        output.flush()
        os.fsync(output.fileno())
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
