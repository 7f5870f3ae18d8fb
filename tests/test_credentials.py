"""Which token is used where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resolver.credentials import Credentials, check
from resolver.net.client import HttpClient
from resolver.settings import load_settings
from tests.fault_server import Exchange, FaultServer

CHECKOUT = Path(__file__).resolve().parent.parent
LOOKUP = (
    "from resolver.settings import load_settings; from resolver.net.client import credentials_from;"
    "lookup = credentials_from(load_settings().values); print(lookup('huggingface'), lookup('civitai'))"
)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "hf_logged_in None"),
        ({"CMR_HF_TOKEN": "hf_set"}, "hf_set None"),
        ({"CMR_CIVITAI_API_KEY": "key"}, "hf_logged_in key"),
        # The one that other tools are logged in with was never meant for somebody else's server.
        ({"CMR_HF_ENDPOINT": "https://mirror.example"}, "None None"),
        ({"CMR_HF_ENDPOINT": "https://mirror.example", "CMR_HF_TOKEN": "hf_set"}, "hf_set None"),
    ],
)
def test_tokens_of_the_settings_win_over_the_logged_in_one(
    tmp_path: Path, environment: dict[str, str], found: str
) -> None:
    (tmp_path / "token").write_text("hf_logged_in")
    outcome = subprocess.run(
        [sys.executable, "-c", LOOKUP],
        cwd=CHECKOUT,
        env={**os.environ, "HF_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
    )
    assert outcome.stdout.strip() == found, outcome.stderr


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"name": "ada"}, ("ada", [], None)),
        ({"name": "ada", "auth": {"accessToken": {"role": 5, "fineGrained": 5}}}, ("ada", [], None)),
        ({"name": "ada", "auth": {"accessToken": {"fineGrained": {"scoped": 5}}}}, ("ada", [], None)),
        (
            {"name": "ada", "auth": {"accessToken": {"fineGrained": {"scoped": [5, {"permissions": 7}]}}}},
            ("ada", [], None),
        ),
        ({"name": 5}, (None, [], "API_ANSWER")),
        ([], (None, [], "API_ANSWER")),
    ],
)
async def test_an_odd_answer_about_a_token_is_no_more_than_that(
    tmp_path: Path, said: Any, found: tuple[str | None, list[str], str | None]
) -> None:
    async def whoami(exchange: Exchange) -> None:
        await exchange.answer(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    async with FaultServer() as server:
        server.routes["/api/whoami-v2"] = whoami
        endpoint = f"http://{server.place}"
        settings = load_settings({"hf_endpoint": endpoint, "allowed_hosts": server.place}).values
        credentials = Credentials(tmp_path / "credentials.json", settings)
        credentials.put("huggingface", "hf_any")
        client = HttpClient(settings, credentials=credentials.token)
        try:
            checked = await check(credentials, client, "huggingface", None)
        finally:
            await client.close()
    assert (checked.account, checked.scopes, checked.code) == found
