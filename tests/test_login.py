"""The login of Hugging Face's own tools: what they wrote is read in threads, and nobody asked for more."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from resolver import schemas
from resolver.app import Resolver
from resolver.credentials import Credentials, check
from resolver.http.handlers import HANDLERS
from resolver.net.client import HttpClient, credentials_from
from resolver.net.login import LoggedIn
from resolver.net.urls import Provider
from resolver.settings import Settings
from tests.standalone_server import CHECKOUT

LOGIN = (
    "import sys; from resolver.net.login import LoggedIn; login = LoggedIn(); login.look();"
    "print(login.token(), 'huggingface_hub.utils' in sys.modules)"
)


def looked(home: Path, **environment: str) -> str:
    """What a new process finds, and whether it loaded more of huggingface_hub than where things are."""
    known = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))
    }
    outcome = subprocess.run(
        [sys.executable, "-c", LOGIN],
        cwd=CHECKOUT,
        env={**known, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


def stored(token: str, **fields: Any) -> str:
    lines = [f"{name} = {value}" for name, value in {"hf_token": token, **fields}.items()]
    return "\n".join(("[other]", "hf_token = hf_other", "expires_at = 1", "", "[mine 100%]", *lines, ""))


@pytest.mark.parametrize(
    ("token", "beside", "found"),
    [
        ("hf_mine\n", None, "hf_mine"),
        ("hf_mine", stored("hf_mine"), "hf_mine"),
        (
            "hf_mine",
            stored("hf_mine", refresh_token="hf_again", expires_at=int(time.time()) + 3600),
            "hf_mine",
        ),
        # The Hub would refuse public files as well.
        ("hf_mine", stored("hf_mine", refresh_token="hf_again", expires_at=int(time.time()) - 1), "None"),
        ("hf_mine", stored("hf_mine", expires_at="soon"), "hf_mine"),
        ("hf_mine", "no [ini", "hf_mine"),
        ("", None, "None"),
        ("two words", None, "None"),
        ("hf_mine\nX-Header: x", None, "None"),
        ("línea", None, "None"),
    ],
)
def test_the_token_is_what_the_tools_wrote_as_long_as_it_is_good(
    tmp_path: Path, token: str, beside: str | None, found: str
) -> None:
    (tmp_path / "token").write_text(token, encoding="utf-8")
    if beside is not None:
        (tmp_path / "stored_tokens").write_text(beside)
    assert looked(tmp_path) == f"{found} False"


def test_the_file_lies_where_the_environment_says(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("hf_elsewhere")
    assert looked(tmp_path) == "None False"
    assert looked(tmp_path, HF_TOKEN_PATH=str(tmp_path / "elsewhere")) == "hf_elsewhere False"
    assert looked(tmp_path, HF_TOKEN_PATH=str(tmp_path)) == "None False", "a directory"
    assert looked(tmp_path, HUGGING_FACE_HUB_TOKEN="hf_older_name") == "hf_older_name False"


def test_nobody_is_asked_for_a_token(tmp_path: Path) -> None:
    """huggingface_hub would exchange one, or refresh this one, over the network."""
    (tmp_path / "token").write_text("hf_mine")
    (tmp_path / "stored_tokens").write_text(stored("hf_mine", refresh_token="hf_again", expires_at=1))
    with socket.create_server(("127.0.0.1", 0)) as asked:
        asked.settimeout(0.2)
        place = f"http://127.0.0.1:{asked.getsockname()[1]}"
        exchange = {"HF_OIDC_RESOURCE": "owner/repo", "HF_OIDC_ID_TOKEN": "x", "HF_ENDPOINT": place}
        assert looked(tmp_path, **exchange) == "None False"
        with pytest.raises(TimeoutError):
            asked.accept()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_asks_for_a_token_does_not_wait_for_the_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolver.net.login._SECONDS", 0.0)
    monkeypatch.setattr("resolver.net.login._PATIENCE", 0.1)
    os.mkfifo(home / "token")  # reading it takes until somebody writes
    (home / "plain").write_text("hf_plain")
    began = time.monotonic()
    lookup = credentials_from(Settings())
    assert {lookup("huggingface") for _ in range(1000)} == {None}
    assert time.monotonic() - began < 1
    assert [thread.name for thread in threading.enumerate()].count("hf-login") == 1
    with (home / "token").open("w") as writer:
        (home / "plain").replace(home / "token")
        writer.write("hf_late")
    until(lambda: lookup("huggingface") == "hf_plain")


def test_a_login_while_the_program_runs_counts_and_so_does_a_logout(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolver.net.login._SECONDS", 0.05)
    lookup = credentials_from(Settings())
    assert lookup("huggingface") is None
    (home / "token").write_text("hf_just_now")
    until(lambda: lookup("huggingface") == "hf_just_now")
    (home / "token").unlink()
    until(lambda: lookup("huggingface") is None)


def test_many_requests_are_one_look(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    real = LoggedIn._look
    monkeypatch.setattr(LoggedIn, "_look", lambda self: (looks.append("look"), real(self))[1])
    (home / "token").write_text("hf_mine")
    lookup = credentials_from(Settings())
    assert {lookup("huggingface") for _ in range(1000)} == {"hf_mine"}
    assert looks == ["look"]


class Watched(Credentials):
    """Says in which threads it was asked for what may block."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Settings())
        self.threads: list[threading.Thread] = []

    def look(self) -> None:
        self.threads.append(threading.current_thread())
        super().look()

    def state(self, provider: Provider) -> schemas.Credential:
        self.threads.append(threading.current_thread())
        return super().state(provider)


async def test_listing_the_credentials_holds_no_loop(home: Path) -> None:
    credentials = Watched(home / "credentials.json")
    (home / "token").write_text("hf_just_now")
    resolver = cast(Resolver, SimpleNamespace(credentials=credentials))
    answer = await HANDLERS["list_credentials"](resolver, cast(web.Request, None))
    assert isinstance(answer, web.Response)
    listed = json.loads(cast(bytes, answer.body))["credentials"]
    assert [(one["provider"], one["set"]) for one in listed] == [("huggingface", True), ("civitai", False)]
    assert credentials.threads
    assert threading.current_thread() not in credentials.threads


async def test_checking_takes_the_login_of_a_moment_ago_and_holds_no_loop(home: Path) -> None:
    credentials = Watched(home / "credentials.json")
    client = HttpClient(Settings(no_proxy="*"), credentials=credentials.token, resolver=_Nowhere())
    assert (await check(credentials, client, "huggingface", None)).code == "TOKEN_MISSING"
    (home / "token").write_text("hf_just_now")
    try:
        found = await check(credentials, client, "huggingface", None)
    finally:
        await client.close()
    assert (found.set, found.code) == (True, "NETWORK")
    assert threading.current_thread() not in credentials.threads


class _Nowhere:
    """Knows no name, so that nothing leaves this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = None) -> Any:
        await asyncio.sleep(0)
        raise OSError(f"{host} is not known here")

    async def close(self) -> None: ...
