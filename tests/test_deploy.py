"""Deploying: ``deploy.sh`` in a clean folder.

One copy of the checkout is installed from by pip, once; the tests start and stop servers from it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.links import load_workflow, model_links
from demo.run import check
from demo.world import World
from resolver import __version__

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLE = CHECKOUT / "demo" / "workflows" / "text-to-image.json"
COPIED = (
    *("resolver", "web", "locales", "tools", "demo"),
    *("deploy.sh", "Dockerfile", ".dockerignore", "compose.yaml"),
    *("pyproject.toml", "requirements.txt", "README.md", "LICENSE"),
)
POD = "a1b2c3d4e5"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def world() -> World:
    return World.for_workflow(EXAMPLE)


@pytest.fixture(scope="module")
def hub(world: World) -> Iterator[Hub]:
    with running_hub(world) as running:
        yield running


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of this checkout, from which the program has been installed and started once, and stopped."""
    copy = tmp_path_factory.mktemp("deploy") / "checkout"
    copy.mkdir()
    for name in COPIED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(
                CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".run", ".*.swp")
            )
        else:
            shutil.copy(CHECKOUT / name, copy)
    outcome = deploy(copy, "prod", "--no-ui", "--port", str(free_port()), **ONLINE)
    try:
        assert outcome.returncode == 0, outcome.stderr
        yield copy
    finally:
        deploy(copy, "stop")


@pytest.fixture
def stopped(checkout: Path) -> Iterator[Path]:
    """The checkout with no server and no token of an earlier test; nothing is left running after."""
    deploy(checkout, "stop")
    (checkout / ".deploy" / "api-token").unlink(missing_ok=True)
    yield checkout
    deploy(checkout, "stop")


# What pip asks for comes from the registry it is set up for; the tests' own guard lets nothing out.
ONLINE = {"PYTHONPATH": ""}


def environment(**extra: str) -> dict[str, str]:
    ours = ("CMR_", "HF_", "RUNPOD_", "WORKSPACE", "VIRTUAL_ENV")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **extra}


def deploy(checkout: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "deploy.sh", *arguments],
        cwd="/",
        env={**environment(), "PYTHON": sys.executable, **extra},
        capture_output=True,
        text=True,
        timeout=200,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def answer(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def health(port: int, **headers: str) -> dict[str, Any]:
    status, body = answer(port, "/model-resolver/health", **headers)
    assert status == 200, body
    said: dict[str, Any] = json.loads(body)
    return said


def process(checkout: Path) -> int:
    return int((checkout / ".deploy" / "server.pid").read_text())


def fetch_example(checkout: Path, root: Path, directory: Path, hub: Hub, world: World, **extra: str) -> None:
    """``resolve --download`` with the installed program, in ``directory``; all models must arrive."""
    resolve = subprocess.run(
        [checkout / ".deploy/venv/bin/comfy-model-resolver", "resolve", EXAMPLE, "--download", "--yes"],
        cwd=directory,
        env=environment(CMR_COMFYUI_ROOT=str(root), CMR_DISK_RESERVE="1MB", **hub.environment(), **extra),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert resolve.returncode == 0, resolve.stderr
    landed = [check(link, root, world) for link in model_links(load_workflow(EXAMPLE))]
    assert [row for row in landed if row.problem] == []
    assert sum(row.size is not None for row in landed) >= 3


def test_prod_serves_and_the_installed_program_fetches_a_workflows_models(
    stopped: Path, tmp_path: Path, hub: Hub, world: World
) -> None:
    root, port = tmp_path / "ComfyUI", free_port()
    links = model_links(load_workflow(EXAMPLE))
    for link in links:
        (root / "models" / link.directory).mkdir(parents=True, exist_ok=True)
    outcome = deploy(stopped, "prod", "--no-ui", "--port", str(port), CMR_COMFYUI_ROOT=str(root))
    assert outcome.returncode == 0, outcome.stderr
    assert health(port)["status"] == "ok"
    assert answer(port, "/")[0] == 404, "no page was asked for"
    fetch_example(stopped, root, tmp_path, hub, world)


def test_a_second_run_changes_nothing(stopped: Path) -> None:
    arguments = ("prod", "--no-ui", "--port", str(free_port()))
    assert deploy(stopped, *arguments).returncode == 0
    before = process(stopped), (stopped / ".deploy/installed").stat().st_mtime_ns
    again = deploy(stopped, *arguments)
    assert again.returncode == 0, again.stderr
    assert "Installed already." in again.stdout
    assert "runs already" in again.stdout
    assert (process(stopped), (stopped / ".deploy/installed").stat().st_mtime_ns) == before


def test_other_options_replace_the_running_server(stopped: Path) -> None:
    port = free_port()
    deploy(stopped, "prod", "--no-ui", "--port", str(port))
    first = process(stopped)
    outcome = deploy(stopped, "prod", "--port", str(port))
    assert outcome.returncode == 0, outcome.stderr
    assert process(stopped) != first
    assert answer(port, "/")[0] == 200, "now there is a page"


def test_settings_may_stand_in_the_env_file(stopped: Path, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "my root" / "models" / "loras").mkdir(parents=True)
    settings = stopped / ".env"
    settings.write_text(
        f"# ours\nCMR_API_PORT=1\nCMR_API_PORT={port}  # the last one counts\n"
        f'export CMR_COMFYUI_ROOT="{tmp_path / "my root"}"  # x\r\nCMR_ENABLE_UI=false\n'
    )
    try:
        outcome = deploy(stopped, "prod")
        assert outcome.returncode == 0, outcome.stderr
        assert answer(port, "/")[0] == 404
        folders = json.loads(answer(port, "/model-resolver/folders")[1])
        assert str(tmp_path / "my root") in json.dumps(folders)
    finally:
        settings.unlink()


def test_stop_ends_the_server_and_status_tells(stopped: Path) -> None:
    deploy(stopped, "prod", "--port", str(free_port()))
    running = process(stopped)
    assert deploy(stopped, "status").returncode == 0
    outcome = deploy(stopped, "stop")
    assert (outcome.returncode, f"process {running}" in outcome.stdout) == (0, True)
    with pytest.raises(ProcessLookupError):
        os.kill(running, 0)
    assert deploy(stopped, "status").returncode == 1
    again = deploy(stopped, "stop")
    assert (again.returncode, again.stdout) == (0, "The server does not run.\n")


def test_a_process_that_got_the_id_of_ours_later_is_left_alone(stopped: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (stopped / ".deploy" / "server.pid").write_text(f"{stranger.pid}\n")
        assert "does not run" in deploy(stopped, "stop").stdout
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_port_in_use_is_named(stopped: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = deploy(stopped, "prod", "--port", str(port))
    assert outcome.returncode == 1
    assert f"Port {port} of 127.0.0.1 is in use by another program" in outcome.stderr
    assert not (stopped / ".deploy" / "server.pid").exists()


def test_a_server_that_does_not_start_says_why(stopped: Path) -> None:
    outcome = deploy(stopped, "prod", "--port", str(free_port()), CMR_LOG_LEVEL="LOUD")
    assert outcome.returncode == 1
    assert "CMR_LOG_LEVEL" in outcome.stderr
    assert "did not start" in outcome.stderr
    assert not (stopped / ".deploy" / "server.pid").exists()


def test_in_the_foreground_the_script_is_the_server(stopped: Path) -> None:
    port = free_port()
    server = subprocess.Popen(
        [stopped / "deploy.sh", "prod", "--foreground", "--port", str(port)],
        env=environment(PYTHON=sys.executable),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert any(f"answers at http://127.0.0.1:{port}" in line for line in server.stdout)
        assert process(stopped) == server.pid
        assert health(port)["status"] == "ok"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


def test_dev_serves_the_checkout_itself(stopped: Path) -> None:
    """In the environment that ``make`` keeps; ``make test`` itself shows that it can be set up."""
    environment_of_make, port = stopped / ".venv", free_port()
    environment_of_make.symlink_to(stopped / ".deploy" / "venv")
    (environment_of_make / ".ready").touch()
    module = stopped / "resolver" / "__init__.py"
    before = module.read_text()
    module.write_text(before.replace(f'"{__version__}"', '"8.8.8"'))
    server = subprocess.Popen(
        [stopped / "deploy.sh", "dev", "--port", str(port)],
        env=environment(PYTHON=sys.executable),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert any(f"answers at http://127.0.0.1:{port}" in line for line in server.stdout)
        assert health(port)["version"] == "8.8.8", "what was just written, not what was installed"
    finally:
        server.terminate()
        assert server.wait(20) == 0
        module.write_text(before)
        environment_of_make.unlink()


def test_a_pod_is_open_to_its_proxy_with_a_token_that_is_shown_once(
    stopped: Path, tmp_path: Path, hub: Hub, world: World
) -> None:
    port = free_port()
    pod = {"RUNPOD_POD_ID": POD, "WORKSPACE": str(tmp_path)}
    outcome = deploy(stopped, "runpod", "--port", str(port), **pod)
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "ComfyUI" / "models").is_dir()
    kept = stopped / ".deploy" / "api-token"
    token = kept.read_text().strip()
    assert len(token) >= 32
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert outcome.stdout.count(token) == 1
    proxy = f"{POD}-{port}.proxy.runpod.net"
    assert f"https://{proxy}" in outcome.stdout

    path, bearer = "/model-resolver/health", f"Bearer {token}"
    assert health(port, Host=proxy, Authorization=bearer)["status"] == "ok"
    assert answer(port, path, Host=proxy)[0] == 401
    assert answer(port, path, Host=f"other-{port}.proxy.runpod.net", Authorization=bearer)[0] == 403

    fetch_example(stopped, tmp_path / "ComfyUI", tmp_path, hub, world, RUNPOD_POD_ID=POD)
    listed = json.loads(answer(port, "/model-resolver/library", Host=proxy, Authorization=bearer)[1])
    assert len(listed["files"]) >= 3, "the server sees them in /workspace, too"

    again = deploy(stopped, "runpod", "--port", str(port), **pod)
    assert (again.returncode, "runs already" in again.stdout) == (0, True)
    assert token not in again.stdout + again.stderr
    assert token not in (stopped / ".deploy" / "server.log").read_text()
    assert deploy(stopped, "status").returncode == 0, "it knows the token"


def test_a_pod_is_recognised_without_being_named(stopped: Path, tmp_path: Path) -> None:
    (tmp_path / "runpod-slim" / "ComfyUI" / "models").mkdir(parents=True)
    (tmp_path / "runpod-slim" / "ComfyUI" / "folder_paths.py").touch()
    port = str(free_port())
    outcome = deploy(
        stopped, "--port", port, RUNPOD_POD_ID=POD, WORKSPACE=str(tmp_path), CMR_API_TOKEN="my own"
    )
    assert outcome.returncode == 0, outcome.stderr
    assert f"https://{POD}-{port}.proxy.runpod.net" in outcome.stdout
    assert not (stopped / ".deploy" / "api-token").exists(), "there is a token already"
    assert health(int(port), Authorization="Bearer my own")["status"] == "ok"
    assert not (tmp_path / "ComfyUI").exists(), "the image's own ComfyUI is used"


@pytest.mark.parametrize(
    ("arguments", "extra", "status", "said"),
    [
        (("runpod",), {}, 1, "RUNPOD_POD_ID is not set"),
        (("runpod",), {"RUNPOD_POD_ID": POD, "WORKSPACE": "/nowhere"}, 1, "no volume at /nowhere"),
        (("prod", "--comfyui-root", "/nowhere"), {}, 1, "/nowhere, which is not a folder"),
        (("prod",), {"PYTHON": "python-of-tomorrow"}, 1, "There is no python-of-tomorrow here"),
        (("prod", "--port", "x"), {}, 2, "not x"),
        (("prod", "--port", "65536"), {}, 2, "not 65536"),
        (("prod", "--port"), {}, 2, "--port needs a value"),
        (("prod", "dev"), {}, 2, "not prod and dev"),
        (("--gpu",), {}, 2, "There is no --gpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said(
    stopped: Path, arguments: tuple[str, ...], extra: dict[str, str], status: int, said: str
) -> None:
    outcome = deploy(stopped, *arguments, **extra)
    assert (outcome.returncode, said in outcome.stderr) == (status, True), outcome.stderr
    assert not (stopped / ".deploy" / "server.pid").exists()


def test_without_docker_its_mode_says_what_to_use_instead(stopped: Path, tmp_path: Path) -> None:
    for name in ("bash", "dirname", "env", "mkdir", "flock", "sed", "tail"):
        if found := shutil.which(name):
            (tmp_path / name).symlink_to(found)
    outcome = deploy(stopped, "docker", PATH=str(tmp_path))
    assert (outcome.returncode, "Docker is not installed here" in outcome.stderr) == (1, True)


def test_changed_sources_are_installed_anew(stopped: Path) -> None:
    port = free_port()
    deploy(stopped, "prod", "--port", str(port))
    module = stopped / "resolver" / "__init__.py"
    before = module.read_text()
    module.write_text(before.replace(f'"{__version__}"', '"9.9.9"'))
    try:
        outcome = deploy(stopped, "prod", "--port", str(port), **ONLINE)
        assert outcome.returncode == 0, outcome.stderr
        assert health(port)["version"] == "9.9.9"
    finally:
        module.write_text(before)
        (stopped / ".deploy" / "installed").unlink()
