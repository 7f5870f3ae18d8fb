"""``doctor`` says what is wrong and what to do, changes nothing, and tells no secret."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.options import DEMO_TOKEN
from demo.world import World
from tests.test_cli import EXAMPLE, lines, run


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(World.for_workflow(EXAMPLE)) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    return tmp_path / "ComfyUI"


def examined(root: Path, hub: Hub | None, **extra: str) -> tuple[int, list[dict[str, Any]]]:
    outcome = run("doctor", "--json", "--comfyui-root", str(root), hub=hub, **extra)
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return outcome.returncode, lines(outcome)


def of(findings: list[dict[str, Any]], area: str, level: str) -> list[str]:
    return [one["message"] for one in findings if (one["area"], one["level"]) == (area, level)]


def test_where_all_is_well_nothing_is_a_problem(root: Path, hub: Hub) -> None:
    (root / "comfyui_version.py").write_text('__version__ = "0.28.1"\n')
    status, findings = examined(root, hub)
    assert (status, [one for one in findings if one["level"] == "problem"]) == (0, [])
    assert of(findings, "comfyui", "ok") == [f"ComfyUI 0.28.1 at {root}"]
    areas = {one["area"] for one in findings}
    assert areas == {
        "version", "packages", "comfyui", "settings", "store", "roots", "space", "network", "tokens", "parts"
    }  # fmt: skip
    assert all((one["advice"] is None) == (one["level"] == "ok") for one in findings)
    text = run("doctor", "--comfyui-root", str(root), hub=hub)
    assert (text.returncode, len(text.stdout.splitlines()) >= len(findings)) == (0, True)


def test_being_offline_is_no_problem(root: Path) -> None:
    # A port that nothing listens on stands for a machine that is offline.
    nowhere = "http://127.0.0.1:9"
    status, findings = examined(
        root,
        None,
        CMR_HF_ENDPOINT=nowhere,
        CMR_CIVITAI_ENDPOINT=nowhere,
        CMR_ALLOWED_HOSTS="127.0.0.1:9",
        CMR_HF_TOKEN=DEMO_TOKEN,
    )
    assert (status, len(of(findings, "network", "warning"))) == (0, 2)
    assert of(findings, "tokens", "warning") == ["huggingface: a token is set and could not be checked"]


def test_an_endpoint_that_is_not_allowed_is_a_problem(root: Path) -> None:
    status, findings = examined(
        root, None, CMR_HF_ENDPOINT="http://127.0.0.1:9", CMR_CIVITAI_ENDPOINT="http://127.0.0.1:9"
    )
    assert status == 1
    assert any("URL_HOST_NOT_ALLOWED" in message for message in of(findings, "network", "problem"))


def test_tokens_are_checked_and_never_shown(root: Path, hub: Hub) -> None:
    status, findings = examined(root, hub, CMR_HF_TOKEN=DEMO_TOKEN, CMR_CIVITAI_API_KEY="not-a-key")
    assert status == 1
    assert any(message.startswith("huggingface: the token of ") for message in of(findings, "tokens", "ok"))
    (refused,) = of(findings, "tokens", "problem")
    assert refused.startswith("civitai: ")
    assert DEMO_TOKEN not in str(findings)
    assert "not-a-key" not in str(findings)
    assert "CMR_HF_TOKEN = set (from environment)" in of(findings, "settings", "ok")


def test_passwords_of_proxies_are_not_shown(root: Path, hub: Hub) -> None:
    _, findings = examined(root, hub, HTTPS_PROXY="http://me:secret@127.0.0.1:9", NO_PROXY="127.0.0.1")
    assert "HTTPS_PROXY: http://127.0.0.1:9" in of(findings, "network", "ok")
    assert "secret" not in str(findings)


def test_too_little_space_is_a_problem(root: Path, hub: Hub) -> None:
    status, findings = examined(root, hub, CMR_DISK_RESERVE="900TB")
    assert (status, len(of(findings, "space", "problem"))) == (1, 1)


def test_folders_that_nothing_can_be_written_to_are_a_problem(root: Path, hub: Hub) -> None:
    (root / "models" / "vae").write_text("a file, where a directory belongs")
    status, findings = examined(root, hub)
    (message,) = of(findings, "roots", "problem")
    assert (status, "the folder vae" in message) == (1, True)


def test_a_disk_that_is_not_there_is_a_warning(root: Path, hub: Hub, tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "loras"
    (root / "extra_model_paths.yaml").write_text(f"other:\n  loras: {gone}\n")
    status, findings = examined(root, hub)
    assert (status, of(findings, "roots", "warning")) == (0, [f"{gone} does not exist."])


def test_a_folder_that_is_not_comfyuis_is_a_problem(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "empty").mkdir()
    status, findings = examined(tmp_path / "empty", hub)
    assert (status, len(of(findings, "comfyui", "problem"))) == (1, 1)


def test_certificates_that_are_not_there_are_a_problem(root: Path, hub: Hub) -> None:
    status, findings = examined(root, hub, SSL_CERT_FILE="/nowhere.pem")
    assert status == 1
    assert of(findings, "network", "problem")[0] == "SSL_CERT_FILE names /nowhere.pem, which is not a file."


def test_a_damaged_store_is_told(root: Path, hub: Hub) -> None:
    examined(root, hub)
    (path,) = root.rglob("store.sqlite3")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.executemany(
            "INSERT INTO answers VALUES (?, ?, 0)", [(f"{index}", "x" * 900) for index in range(300)]
        )
    connection.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40_000] = os.urandom(40_000)
    path.write_bytes(content)
    _, findings = examined(root, hub)
    (message,) = [*of(findings, "store", "problem"), *of(findings, "store", "warning")]
    assert "damaged" in message or "set aside" in message


def test_what_nobody_goes_on_with_is_told_and_stays(root: Path, hub: Hub) -> None:
    helper = root / "models" / "vae" / ".model-resolver" / ".git"
    helper.mkdir(parents=True)
    part = helper / f"{'a' * 24}.part"
    part.write_bytes(b"x" * 1000)
    hours_ago = time.time() - 9000
    os.utime(part, (hours_ago, hours_ago))
    status, findings = examined(root, hub)
    (message,) = of(findings, "parts", "warning")
    assert (status, str(part) in message, part.exists()) == (0, True, True)
