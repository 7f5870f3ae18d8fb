"""Our own server as a child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.hub import Hub

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass
class Server:
    """``output`` and ``errors`` have been read to their end once it has stopped."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    token: str | None = None

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, JSON or text of the answer)."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {**sent, **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode()

    def stop(self) -> int:
        """End it as a service manager does; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def errors(self) -> str:
        """All that it has logged so far."""
        return self.log.read_text("utf-8")


@contextmanager
def serving(
    root: Path, hub: Hub | None = None, *arguments: str, token: str | None = None, **environment: str
) -> Iterator[Server]:
    """It on a free port; ``root``: the ComfyUI folder, which is made."""
    (root / "models").mkdir(parents=True, exist_ok=True)
    log = root.parent / "server.log"
    with log.open("a") as errors:
        command = [sys.executable, "-m", "resolver", "serve", "--port", "0", "--comfyui-root", str(root)]
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "CMR_DISK_RESERVE": "1MB",
                "PYTHONDONTWRITEBYTECODE": "1",
                **(hub.environment() if hub else {}),
                **({"CMR_API_TOKEN": token} if token else {}),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "answers at" in line, log.read_text()
        yield Server(line.split()[-1].replace("0.0.0.0", "127.0.0.1"), process, log, token)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
        process.stdout.close()
