"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, Page, expect

from tests.comfy_host.driver import launch_browser
from tests.editor_page import PATIENCE
from tests.guard.sitecustomize import local_only
from tests.secret_search import has_secret

# How long an example takes depends on what else the machine does.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

COMFY_HOST = Path(__file__).parent / "comfy_host"
GUARD = Path(__file__).parent / "guard"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine the tests run on reaches them."""
    for name in list(os.environ):
        if name.startswith(("CMR_", "HF_")) or name.lower() in ("http_proxy", "https_proxy", "runpod_pod_id"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test, and no program that one starts, looks up another machine's name: none reaches one."""
    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    monkeypatch.setenv("PYTHONPATH", str(GUARD))


@pytest.fixture(autouse=True, scope="session")
def _no_secret_in_any_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No server that any test started has written a token to its log or its output."""
    yield
    logs = tmp_path_factory.getbasetemp().rglob("*.log")
    assert [str(log) for log in logs if has_secret(log.read_text("utf-8", "replace"))] == []


@pytest.fixture
def comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """ComfyUI's modules (``folder_paths``, ``nodes``) of the test host, fresh, with one LoRA on disk."""
    (tmp_path / "models" / "loras").mkdir(parents=True)
    (tmp_path / "models" / "loras" / "mine.safetensors").write_bytes(b"x")
    before = dict(sys.modules)
    monkeypatch.setenv("COMFY_HOST_BASE", str(tmp_path))
    monkeypatch.syspath_prepend(str(COMFY_HOST))
    for name in ("folder_paths", "nodes", "server", "comfy_api"):
        sys.modules.pop(name, None)
    try:
        yield SimpleNamespace(
            folder_paths=importlib.import_module("folder_paths"),
            nodes=importlib.import_module("nodes"),
            base=tmp_path,
        )
    finally:
        for name in set(sys.modules) - set(before):
            module = sys.modules[name]
            if str(COMFY_HOST) in str(getattr(module, "__file__", "")):
                del sys.modules[name]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of one module: while it runs, no asynchronous test can."""
    expect.set_options(timeout=PATIENCE)
    with launch_browser() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page of it, without anything another test left behind."""
    context = browser.new_context(viewport={"width": 1500, "height": 950})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    yield opened
    context.close()
