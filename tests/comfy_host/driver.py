"""What browser tests hold in their hands: a running host, a browser, and the editor in it.

    packs = {"model-resolver": CHECKOUT}
    with ComfyHostProcess(tmp_path, packs) as host, launch_browser() as browser:
        page = browser.new_page()
        seen = watch(page)
        open_editor(page, host.url)
        load_workflow(page, read_template("image_qwen_image"))
        assert not seen.errors

Playwright is imported where it is used, so that tests without a browser can use the host alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, Response

HERE = Path(__file__).resolve().parent
START_SECONDS = 60.0
STOP_SECONDS = 10.0
EDITOR_MILLISECONDS = 60_000
SLOW_MILLISECONDS = 2_000

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing but this machine can be reached: a page that asks for more gets an error at once.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_template(name: str) -> dict[str, Any]:
    """One of ComfyUI's official workflows, by name (without `.json`)."""
    import comfyui_workflow_templates_json

    package = Path(comfyui_workflow_templates_json.__file__).parent
    workflow: dict[str, Any] = json.loads(
        (package / "templates" / f"{name}.json").read_text("utf-8")
    )
    return workflow


class ComfyHostProcess:
    """The host as a child process, on a base directory of its own.

    ``packs`` maps names in `custom_nodes` to checkouts, which are linked there. ``env`` is added
    to this process's environment. The port stays the same over ``restart()``, so an open page
    finds it again.
    """

    def __init__(
        self,
        base: Path,
        packs: Mapping[str, Path] | None = None,
        env: Mapping[str, str] | None = None,
        cors_origin: str | None = None,
        port: int | None = None,
    ) -> None:
        self.base = base
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.stdout_file = base / "host.stdout.log"
        self.stderr_file = base / "host.stderr.log"
        self._env = dict(env or {})
        self._cors_origin = cors_origin
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("models", "custom_nodes", "input", "output", "temp", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)
        for name, checkout in (packs or {}).items():
            link = base / "custom_nodes" / name
            if not link.is_symlink():
                link.symlink_to(checkout.resolve(), target_is_directory=True)

    # -- life --------------------------------------------------------------------------------------

    def __enter__(self) -> ComfyHostProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.terminate()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start and wait until the host answers; raise with the end of its log if it does not."""
        command = [sys.executable, str(HERE), "--base", str(self.base), "--port", str(self.port)]
        if self._cors_origin:
            command += ["--enable-cors-header", self._cors_origin]
        # The checkout is linked, not copied: no __pycache__ may be left in it.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self._env}
        self.stdout_file.write_bytes(b"")
        with self.stdout_file.open("ab") as out, self.stderr_file.open("ab") as err:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while f"ready {self.url}\n" not in self.stdout_file.read_text("utf-8", "replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"The host did not start:\n{self.log()[-4000:]}")
            time.sleep(0.02)

    def terminate(self) -> int:
        """Ask it to stop, as a service manager does; returns its exit status. Harmless if it is
        down.
        """
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None
        return status

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same base directory and port."""
        self.terminate()
        self.start()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("The host is not running")
        return self._process

    # -- what tests look at and put there ----------------------------------------------------------

    def log(self) -> str:
        """All that was printed, by all starts so far."""
        return self.stderr_file.read_text("utf-8", "replace")

    def model_path(self, relative: str) -> Path:
        """Where `models/<relative>` is, e.g. ``"loras/style/a.safetensors"``."""
        return self.base / "models" / relative

    def add_model(self, relative: str, content: bytes = b"model") -> Path:
        """Put a model file there."""
        path = self.model_path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """GET: status and decoded JSON, or text where it is none."""
        return self.request("GET", path, headers=headers)

    def post(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """POST a JSON body: status and decoded JSON, or text where it is none."""
        return self.request("POST", path, body, headers)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as refusal:
            return refusal.code, _decoded(refusal.read())

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Change editor settings for pages opened from now on, e.g. ``{"Comfy.Locale": "zh"}``."""
        self.post("/api/settings", dict(settings))


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


# -- browser ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def launch_browser(headless: bool = True) -> Iterator[Browser]:
    """Chromium with a fresh profile; open pages with ``browser.new_page(viewport=...)``."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="comfy-host-home-") as home, sync_playwright() as tool:
        browser = tool.chromium.launch(
            executable_path=CHROMIUM,
            headless=headless,
            args=CHROMIUM_FLAGS,
            env={**os.environ, "HOME": home},
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watch:
    """What went by on a page since ``watch(page)``. Requests to other machines are kept apart."""

    console: list[str] = field(default_factory=list)
    """Every message, as ``"<type>: <text>"``."""
    errors: list[str] = field(default_factory=list)
    """Uncaught exceptions and messages of type error, except those about other machines."""
    failed: list[str] = field(default_factory=list)
    """Requests to the host that were answered with 400 or more, or not at all."""
    slow: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """Requests to other machines; none of them gets there."""
    requests: list[str] = field(default_factory=list)


def watch(page: Page) -> Watch:
    """Start to record a page's console and network. Call it before ``open_editor``."""
    seen = Watch()
    answered: set[Request] = set()

    def is_ours(url: str) -> bool:
        return url.startswith(("http://127.0.0.1", "blob:", "data:"))

    def on_request(request: Request) -> None:
        (seen.requests if is_ours(request.url) else seen.elsewhere).append(
            f"{request.method} {request.url}"
        )

    def on_response(response: Response) -> None:
        answered.add(response.request)
        if is_ours(response.url) and response.status >= 400:
            seen.failed.append(f"{response.status} {response.request.method} {response.url}")

    def on_finished(request: Request) -> None:
        took = request.timing["responseEnd"]
        if is_ours(request.url) and took > SLOW_MILLISECONDS:
            seen.slow.append(f"{took:.0f} ms {request.method} {request.url}")

    def on_failed(request: Request) -> None:
        # Chromium also calls a request failed when the page did not read the answer's body.
        if is_ours(request.url) and request not in answered:
            seen.failed.append(f"{request.failure} {request.method} {request.url}")

    def on_console(message: Any) -> None:
        seen.console.append(f"{message.type}: {message.text}")
        source = (message.location or {}).get("url", "")
        if message.type == "error" and (not source or is_ours(source)):
            seen.errors.append(message.text)

    page.on("request", on_request)
    page.on("response", on_response)
    page.on("requestfinished", on_finished)
    page.on("requestfailed", on_failed)
    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.errors.append(f"uncaught: {error}"))
    return seen


# -- editor ----------------------------------------------------------------------------------------


def open_editor(page: Page, url: str) -> None:
    """Open the editor and wait until its start is over: packs set up, first workflow on the
    canvas.
    """
    page.goto(url, wait_until="domcontentloaded")
    wait_for_editor(page)


def wait_for_editor(page: Page) -> None:
    """Wait out a start or a reload that is under way."""
    page.wait_for_function(
        "() => window.app?.vueAppReady && window.app.extensionManager?.spinner === false",
        timeout=EDITOR_MILLISECONDS,
    )


def load_workflow(page: Page, workflow: Mapping[str, Any], name: str = "test") -> None:
    """Open a workflow in a new tab of the editor, as dropping its file on the canvas does."""
    page.evaluate(
        "([graph, name]) => window.app.loadGraphData(graph, true, true, name)", [workflow, name]
    )


def open_template(page: Page, name: str) -> None:
    """Fetch an official template from the host, and open it."""
    page.evaluate(
        """async name => {
            const answer = await fetch(`/templates/${name}.json`)
            await window.app.loadGraphData(await answer.json(), true, true, name)
        }""",
        name,
    )


def current_prompt(page: Page) -> dict[str, Any]:
    """The graph on the canvas in API format: what `POST /prompt` would get."""
    prompt: dict[str, Any] = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    return prompt


def set_setting(page: Page, key: str, value: Any) -> None:
    """Change a setting as the settings dialog does; the host remembers it."""
    page.evaluate(
        "([key, value]) => window.app.extensionManager.setting.set(key, value)", [key, value]
    )


def set_theme(page: Page, theme: str) -> None:
    """`light` or `dark` (other palette ids are all dark ones), and wait until the page shows it.

    The editor marks its theme by `color-scheme` on the root element only; there is no class.
    """
    set_setting(page, "Comfy.ColorPalette", theme)
    page.wait_for_function(
        """scheme => getComputedStyle(document.documentElement).colorScheme === scheme
            && !('paletteSwitching' in document.documentElement.dataset)""",
        arg="light" if theme == "light" else "dark",
    )


def set_locale(page: Page, locale: str) -> None:
    """`en`, `zh`, ...: switch the language and wait until the editor has reloaded itself in it.

    The editor fetches node definitions anew and reopens the workflow; neither reloads the page, so
    what a pack has rendered stays as it is unless the pack follows the setting.
    """
    if page.evaluate("window.app.extensionManager.setting.get('Comfy.Locale')") == locale:
        return
    with page.expect_response(lambda r: r.url.endswith("/api/object_info")):
        set_setting(page, "Comfy.Locale", locale)
    page.wait_for_load_state("networkidle")
    wait_for_editor(page)
