"""What the documents say is so."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from resolver.settings import Settings, environment_name

CHECKOUT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")]


def test_every_setting_is_documented_and_nothing_else() -> None:
    text = (CHECKOUT / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))
    assert documented == {environment_name(field) for field in Settings.model_fields}


def test_make_run_answers_in_a_checkout_that_nothing_was_run_in(tmp_path: Path) -> None:
    server = subprocess.Popen(
        ["make", "run", f"ROOT={tmp_path / 'ComfyUI'}"],
        cwd=CHECKOUT,
        env={**os.environ, "CMR_API_PORT": "0"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        url = next(line.split()[-1] for line in server.stdout if "answers at" in line)
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.headers.get_content_type() == "text/html"
        assert (tmp_path / "ComfyUI" / "models").is_dir(), "it was made for the purpose"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_the_documents_exist(document: Path) -> None:
    for name in re.findall(
        r"`((?:resolver|web|demo|tests|locales)/[\w./-]+)`", document.read_text(encoding="utf-8")
    ):
        assert (CHECKOUT / name).exists(), name
