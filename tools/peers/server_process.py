"""Starts and stops the server of a side."""

import http.client
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

from tools.peers.http_client import HOST, Client
from tools.peers.sides import REPOSITORY
from tools.peers.worker import SideError, last_lines, stop

_POLL_SECONDS = 0.02


def free_port() -> int:
    """Finds a free TCP port."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class ServerProcess:
    """Context manager of a server; the block begins when the server is ready.

    Args:
        command: Command that starts the server.
        env: Environment variables.
        port: Port that the server listens on.
        is_ready: Whether the server answers; may raise while it starts.
        timeout: Most seconds to start.

    Attributes:
        start_seconds: Seconds from the start until the server is ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        port: int,
        is_ready: Callable[[Client], bool],
        timeout: float,
    ) -> None:
        self.port = port
        self.start_seconds = 0.0
        self._command, self._env = list(command), dict(env)
        self._is_ready, self._timeout = is_ready, timeout

    def __enter__(self) -> "ServerProcess":
        """Starts the server and waits until it is ready.

        Raises:
            SideError: The server ends, or is not ready in time.
        """
        # Closed in `__exit__`.
        self._log = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            cwd=REPOSITORY,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            while not self._answers():
                if self._process.poll() is not None:
                    raise self._failure("ended")
                if time.perf_counter() - began > self._timeout:
                    raise self._failure(f"not up in {self._timeout:.0f} s")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        self.start_seconds = time.perf_counter() - began
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the server."""
        stop(self._process)
        self._log.close()

    def _answers(self) -> bool:
        client = Client(self.port, self._timeout)
        try:
            return self._is_ready(client)
        except (OSError, RuntimeError, http.client.HTTPException):
            return False
        finally:
            client.close()

    def _failure(self, reason: str) -> SideError:
        self._log.seek(0)
        log = last_lines(self._log.read())
        return SideError(f"{reason} | {log}" if log else reason)
