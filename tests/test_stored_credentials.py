"""Tokens given to the program: stored out of sight, checked, used for their own host, and forgotten."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.accounts import CivitaiAccount, HuggingFaceAccount
from demo.hub import Hub, running_hub
from demo.world import World
from resolver.credentials import Credentials
from resolver.errors import BadInput
from resolver.http.table import PREFIX
from resolver.settings import load_settings
from tests.comfy_host.driver import ComfyHostProcess
from tests.test_routes import ask

CHECKOUT = Path(__file__).resolve().parent.parent
GATED = "https://huggingface.co/lab/gated/resolve/main/x.safetensors"
OPEN = "https://huggingface.co/lab/open/resolve/main/y.safetensors"
ACCOUNTS = {
    "hf_granted": HuggingFaceAccount("ada", gated="granted"),
    "hf_stranger": HuggingFaceAccount("bob"),
    "hf_narrow": HuggingFaceAccount("cy", role="fineGrained", gated="granted", reads_gated=False),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    world = World.for_urls([GATED, OPEN], sizes=4096, gated={"lab/gated": "auto"})
    accounts = {"civitai_key": CivitaiAccount("dora")}
    with running_hub(world, accounts=ACCOUNTS, civitai_accounts=accounts) as running:
        yield running


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[ComfyHostProcess]:
    environment = {**hub.environment(), "CMR_DISK_RESERVE": "1MB", "CMR_LOG_LEVEL": "DEBUG"}
    base = tmp_path_factory.mktemp("base")
    with ComfyHostProcess(base, packs={"resolver-pack": CHECKOUT}, env=environment) as process:
        yield process


@pytest.fixture(autouse=True)
def _without_tokens(comfyui: ComfyHostProcess) -> None:
    for provider in ("huggingface", "civitai"):
        ask(comfyui, "DELETE", f"{PREFIX}/credentials/{provider}")


def put(host: ComfyHostProcess, provider: str, token: str) -> tuple[int, Any]:
    return ask(host, "PUT", f"{PREFIX}/credentials/{provider}", {"token": token})


def check(host: ComfyHostProcess, provider: str, url: str | None = None) -> Any:
    status, found = ask(host, "POST", f"{PREFIX}/credentials/{provider}/check", {"url": url})
    assert status == 200
    return found


def ended(host: ComfyHostProcess, download: str) -> Any:
    """The download once it has ended in any way."""
    for _ in range(200):
        found = ask(host, "GET", f"{PREFIX}/downloads/{download}")[1]
        if found["status"] in ("completed", "failed"):
            return found
        time.sleep(0.05)
    pytest.fail(f"it is still {found['status']}")


def test_a_token_is_stored_said_to_be_set_and_forgotten(comfyui: ComfyHostProcess) -> None:
    assert put(comfyui, "huggingface", " hf_granted\n") == (
        200,
        {"provider": "huggingface", "set": True, "origin": "stored"},
    )
    listed = ask(comfyui, "GET", f"{PREFIX}/credentials")[1]["credentials"]
    assert [(entry["provider"], entry["set"]) for entry in listed] == [
        ("huggingface", True),
        ("civitai", False),
    ]
    assert "hf_granted" not in json.dumps(listed)
    status, state = ask(comfyui, "DELETE", f"{PREFIX}/credentials/huggingface")
    assert (status, state["set"]) == (200, False)


def test_the_file_is_its_owners_alone_and_comfyui_does_not_serve_it(comfyui: ComfyHostProcess) -> None:
    put(comfyui, "civitai", "civitai_key")
    [path] = comfyui.base.rglob("credentials.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "civitai_key" in path.read_text()
    below = path.relative_to(comfyui.base / "user").as_posix()
    for served in (f"/userdata/{below}", f"/api/userdata/{below}", f"/extensions/resolver-pack/{below}"):
        assert ask(comfyui, "GET", served)[0] in (400, 403, 404)


def test_checking_says_whose_it_is_and_what_is_missing(comfyui: ComfyHostProcess) -> None:
    nothing = check(comfyui, "huggingface")
    assert (nothing["set"], nothing["code"]) == (False, "TOKEN_MISSING")
    assert nothing["page_url"] == "https://huggingface.co/settings/tokens"
    gated = check(comfyui, "huggingface", GATED)
    assert (gated["code"], gated["page_url"]) == ("GATED", "https://huggingface.co/lab/gated")

    put(comfyui, "huggingface", "hf_granted")
    fine = check(comfyui, "huggingface", GATED)
    assert (fine["account"], fine["code"], fine["scopes"]) == ("ada", None, ["read"])

    put(comfyui, "huggingface", "hf_stranger")
    assert check(comfyui, "huggingface")["code"] is None
    stranger = check(comfyui, "huggingface", GATED)
    assert (stranger["account"], stranger["code"]) == ("bob", "GATED")
    assert "hf_stranger" not in json.dumps(stranger)

    put(comfyui, "huggingface", "hf_narrow")
    narrow = check(comfyui, "huggingface", GATED)
    assert (narrow["account"], narrow["code"]) == ("cy", "TOKEN_LACKS_SCOPE")
    assert narrow["page_url"] == "https://huggingface.co/settings/tokens"

    put(comfyui, "huggingface", "no_such_token")
    assert check(comfyui, "huggingface")["code"] == "TOKEN_REJECTED"

    put(comfyui, "civitai", "civitai_key")
    assert (check(comfyui, "civitai")["account"], check(comfyui, "civitai")["code"]) == ("dora", None)
    put(comfyui, "civitai", "wrong")
    assert check(comfyui, "civitai")["code"] == "TOKEN_REJECTED"


def test_what_was_gated_can_be_downloaded_once_the_token_is_there(
    comfyui: ComfyHostProcess, hub: Hub
) -> None:
    item = {"folder": "loras", "filename": "x.safetensors", "url": GATED}
    [refused] = ask(comfyui, "POST", f"{PREFIX}/downloads", {"items": [item]})[1]["downloads"]
    assert ended(comfyui, refused["id"])["error"]["code"] == "GATED"
    put(comfyui, "huggingface", "hf_granted")
    ask(comfyui, "POST", f"{PREFIX}/downloads/{refused['id']}/retry", {})
    assert ended(comfyui, refused["id"])["status"] == "completed"
    assert (comfyui.base / "models" / "loras" / "x.safetensors").is_file()
    sent = [entry for entry in hub.log.entries() if "Authorization" in entry.headers]
    assert "storage" not in {entry.host for entry in sent}
    assert {entry.host for entry in sent if "hf_granted" in entry.headers["Authorization"]} == {"api"}
    assert "hf_granted" not in comfyui.log()


@pytest.mark.parametrize("token", ["", "   ", "two words", "línea", "a\nb", "x" * 5000])
def test_what_cannot_be_a_token_is_refused_and_changes_nothing(comfyui: ComfyHostProcess, token: str) -> None:
    put(comfyui, "huggingface", "hf_granted")
    status, answer = put(comfyui, "huggingface", token)
    assert status == 400
    assert answer["error"]["code"] in ("TOKEN_INVALID", "BODY_INVALID")
    assert token.strip() == "" or token not in json.dumps(answer)
    assert check(comfyui, "huggingface")["account"] == "ada"


def test_an_unknown_provider_is_said_to_be_none(comfyui: ComfyHostProcess) -> None:
    assert put(comfyui, "nobody", "x")[1]["error"]["code"] == "PROVIDER_UNKNOWN"


def test_a_stored_token_goes_before_one_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings({"hf_token": "hf_set"}).values
    credentials = Credentials(tmp_path / "credentials.json", settings)
    assert (credentials.token("huggingface"), credentials.state("huggingface").origin) == (
        "hf_set",
        "settings",
    )
    credentials.put("huggingface", "Bearer hf_stored")
    assert credentials.token("huggingface") == "hf_stored"
    assert Credentials(tmp_path / "credentials.json", settings).token("huggingface") == "hf_stored"
    assert credentials.delete("huggingface").origin == "settings"


def test_a_damaged_file_is_left_out_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    for damaged in ("{", "[]", '"x"'):
        path.write_text(damaged)
        credentials = Credentials(path, load_settings().values)
        assert credentials.state("civitai").set is False
        assert credentials.put("civitai", "key").set
    with pytest.raises(BadInput):
        credentials.put("civitai", "not a key")


def test_the_command_takes_the_token_from_standard_input(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "models").mkdir()
    common = ("--json", "--comfyui-root", str(tmp_path))

    def run(*arguments: str, given: str = "") -> tuple[int, Any]:
        outcome = subprocess.run(
            [sys.executable, "-m", "resolver", "credentials", *arguments, *common],
            cwd=CHECKOUT,
            env={**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "hf")},
            input=given,
            capture_output=True,
            text=True,
        )
        assert given.strip() == "" or given.strip() not in outcome.stdout + outcome.stderr
        lines = [json.loads(line) for line in outcome.stdout.splitlines()]
        return outcome.returncode, lines

    assert run("list")[1][0]["set"] is False
    assert run("check", "huggingface")[0] == 1
    assert run("set", "huggingface", given="hf_granted\n") == (
        0,
        [{"provider": "huggingface", "set": True, "origin": "stored"}],
    )
    status, [found] = run("check", "huggingface", "--url", GATED)
    assert (status, found["account"]) == (0, "ada")
    assert run("delete", "huggingface")[1][0]["set"] is False
    assert run("set")[0] == 2
