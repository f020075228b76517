"""A real browser without a screen, driven by the DevTools protocol.

`--dump-dom` would be less code, but it ends when the page has loaded and its
virtual time is over, whether or not an answer is still being streamed.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time
from typing import Any

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome"))), None
)
# The protocol's messages end with it.
_END = b"\0"


class Browser:
    """A headless Chromium with one page, closed on exit.

    Args:
        folder: For its profile.
        url: What the page shows.
    """

    def __init__(self, folder: pathlib.Path, url: str) -> None:
        # Chromium reads commands from descriptor 3 and writes to 4.
        command_end, self._commands = os.pipe()
        self._answers, answer_end = os.pipe()
        self._process = subprocess.Popen(
            [
                "bash",  # sh need not know descriptors past 9
                "-c",
                f'exec "$@" 3<&{command_end} 4>&{answer_end}',
                "bash",
                str(BROWSER),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={folder}",
                "--remote-debugging-pipe",
            ],
            pass_fds=(command_end, answer_end),
            stderr=subprocess.DEVNULL,
        )
        os.close(command_end)
        os.close(answer_end)
        self._rest = b""
        self._count = 0
        target = self._call("Target.createTarget", url=url)["targetId"]
        self._session = self._call(
            "Target.attachToTarget", targetId=target, flatten=True
        )["sessionId"]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def wait_for(self, selector: str, seconds: float = 120) -> str:
        """Returns the page's HTML once an element matches the selector."""
        script = (
            f"document.querySelector({json.dumps(selector)})"
            " ? document.documentElement.outerHTML : ''"
        )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self._call(
                "Runtime.evaluate", self._session, expression=script
            )
            if shown := answer["result"].get("value"):
                return str(shown)
            time.sleep(0.05)
        raise TimeoutError(f"no {selector} within {seconds} s")

    def _call(self, method: str, session: str = "", **params: Any) -> Any:
        """Sends a command; returns its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + _END)
        while True:
            answer = self._read()
            if answer.get("id") == self._count:  # the others are events
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> Any:
        """Returns the next message."""
        while _END not in self._rest:
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(_END)
        return json.loads(message)
