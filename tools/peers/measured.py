"""Runs a command and writes its time and peak memory as JSON.

    python -m tools.peers.measured OUT.json COMMAND...

A separate, small process, because the kernel's peak memory of a child starts at
the memory of the process that it was forked from.
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
        arguments: Path of the report, then the command.

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
