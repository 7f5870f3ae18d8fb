"""What the image and Compose files say, done without Docker."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from resolver import __version__
from resolver.settings import Settings, environment_name
from tests.test_deploy import CHECKOUT, ONLINE, environment, free_port

pytestmark = pytest.mark.timeout(300)


class Instruction:
    """One instruction of the Dockerfile: its name, its options, its text with continuations joined."""

    def __init__(self, text: str) -> None:
        self.name, self.text = text.split(None, 1)

    @property
    def words(self) -> list[str]:
        listed: list[str] = json.loads(self.text) if self.text[0] == "[" else shlex.split(self.text)
        return listed


def stages() -> list[list[Instruction]]:
    """The Dockerfile's instructions, a list a stage; those before the first FROM are left out."""
    text = re.sub(r"^#.*\n", "", (CHECKOUT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: list[list[Instruction]] = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            instruction = Instruction(line)
            if instruction.name == "FROM":
                found.append([])
            if found:
                found[-1].append(instruction)
    return found


def in_context(name: str) -> bool:
    """Whether ``.dockerignore`` lets a path into the build; the last pattern that fits decides."""
    allowed = True
    for pattern in (CHECKOUT / ".dockerignore").read_text().splitlines():
        if pattern and not pattern.startswith("#") and fnmatch.fnmatch(name, pattern.lstrip("!")):
            allowed = pattern.startswith("!")
    return allowed


def test_the_image_built_step_by_step_serves_and_is_healthy(tmp_path: Path) -> None:
    """What the Dockerfile runs and copies, with folders below ours in place of those of an image."""
    build, final = stages()
    places = {"/opt/model-resolver": tmp_path / "opt", "/wheels": tmp_path / "wheels"}
    source, programs = tmp_path / "source", tmp_path / "programs"
    for folder in (source, programs, tmp_path / "comfyui" / "models"):
        folder.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)

    def here(text: str) -> str:
        for place, folder in places.items():
            text = text.replace(place, str(folder))
        return text

    for step in build:
        if step.name == "COPY":
            *names, target = step.words
            for name in names:
                assert in_context(name), f".dockerignore keeps {name} out"
                to = source / (name if target == "./" else target)
                (shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy)(CHECKOUT / name, to)
        elif step.name == "RUN":
            subprocess.run(
                ["sh", "-ec", here(step.text)],
                cwd=source,
                env=environment(PATH=f"{programs}:{os.environ['PATH']}", PYTHONNOUSERSITE="1", **ONLINE),
                check=True,
                capture_output=True,
            )
    settings: dict[str, str] = {}
    entry: dict[str, list[str]] = {}
    for step in final:
        if step.name == "ENV":
            settings |= dict(word.split("=", 1) for word in step.words)
        elif step.name in ("ENTRYPOINT", "CMD"):
            entry[step.name] = step.words
        elif step.name == "HEALTHCHECK":
            entry["HEALTHCHECK"] = json.loads(step.text.partition("CMD ")[2])
        elif step.name == "COPY" and not step.text.startswith("--from"):
            name, target = step.words
            assert in_context(name), f".dockerignore keeps {name} out"
            shutil.copy(CHECKOUT / name, here(target))
    assert settings["CMR_API_HOST"] == "0.0.0.0"
    port = free_port()
    settings |= {"CMR_COMFYUI_ROOT": str(tmp_path / "comfyui"), "CMR_API_PORT": str(port)}
    settings["PATH"] = here(settings["PATH"]).replace("$PATH", os.environ["PATH"])
    command = [*entry["ENTRYPOINT"], *entry["CMD"]]
    program = shutil.which(command[0], path=settings["PATH"])
    assert program == str(tmp_path / "opt" / "bin" / "comfy-model-resolver")

    refused = subprocess.run(
        [program, *command[1:]], cwd=tmp_path, env=environment(**settings), capture_output=True, text=True
    )
    assert (refused.returncode, "TOKEN_MISSING" in refused.stderr) == (2, True)

    settings["CMR_API_TOKEN"] = "secret"
    check_health = [
        str(tmp_path / "opt" / "bin" / "python"),
        *(here(word) for word in entry["HEALTHCHECK"][1:]),
    ]
    assert entry["HEALTHCHECK"][0] == "python"

    def healthy(**other: str) -> bool:
        outcome = subprocess.run(check_health, env=environment(**settings, **other), capture_output=True)
        return outcome.returncode == 0

    assert not healthy(), "nothing runs yet"
    server = subprocess.Popen([program, *command[1:]], cwd=tmp_path, env=environment(**settings))
    try:
        while not healthy():
            assert server.poll() is None
            time.sleep(0.2)
        settings["CMR_API_TOKEN"] = "another"
        assert not healthy(), "the server asks for its own token"
    finally:
        server.terminate()
        assert server.wait(20) == 0


def test_the_image_is_not_run_by_root_and_says_what_it_is() -> None:
    final = {step.name: step for step in stages()[-1]}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final["USER"].text)
    labels = dict(word.split("=", 1) for word in final["LABEL"].words)
    assert {name.removeprefix("org.opencontainers.image.") for name in labels} == {
        *("title", "description", "licenses", "version", "revision")
    }
    assert f"ARG VERSION={__version__}\n" in (CHECKOUT / "Dockerfile").read_text()
    assert final["VOLUME"].words == ["/comfyui/models", "/comfyui/user"]


@pytest.mark.parametrize("name", [".env", ".deploy", ".git", "tests", "deploy.sh", "tools/setup.sh"])
def test_nothing_else_gets_into_an_image(name: str) -> None:
    assert not in_context(name)


def test_compose_is_for_this_machine_only_and_asks_for_what_is_needed() -> None:
    compose = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
    server, redis = compose["services"]["model-resolver"], compose["services"]["redis"]
    known = {environment_name(field) for field in Settings.model_fields}
    assert set(server["environment"]) <= known
    (port,) = server["ports"]
    assert port.startswith("127.0.0.1:")
    assert server["environment"]["CMR_API_TOKEN"].startswith("${CMR_API_TOKEN:?")
    assert server["image"].endswith(f":{__version__}")
    targets = [volume.rsplit(":", 1)[1] for volume in server["volumes"]]
    assert targets == next(step.words for step in stages()[-1] if step.name == "VOLUME")
    assert redis["profiles"] == ["redis"]
    assert "ports" not in redis, "only the server needs it"
