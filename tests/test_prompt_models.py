"""A prompt sent to us is queued on ComfyUI once its models are here, or it is said which are not."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.world import World
from resolver.ensuring import MOST_MODELS
from resolver.http.table import PREFIX
from tests.comfy_host.driver import ComfyHostProcess
from tests.graphs import metadata, node, workflow
from tests.route_calls import CHECKOUT, ask, code

NAME = "wanted.safetensors"
URL = f"https://huggingface.co/o/r/resolve/main/{NAME}"
GATED = "https://huggingface.co/closed/r/resolve/main/gated.safetensors"
SIZE = 2_000_000
WORLD = World.for_urls([URL, GATED], sizes=SIZE, gated={"closed/r": "manual"})
PATH = f"{PREFIX}/prompt"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub(WORLD, bytes_per_second=4_000_000) as running:
        yield running


@pytest.fixture
def comfyui(tmp_path: Path, hub: Hub) -> Iterator[ComfyHostProcess]:
    environment = {**hub.environment(), "CMR_DISK_RESERVE": "1MB"}
    with ComfyHostProcess(tmp_path, packs={"resolver": CHECKOUT}, env=environment) as host:
        yield host


def prompt(name: str = NAME, url: str | None = URL, **extra: Any) -> dict[str, Any]:
    """The body the editor sends: a VAE loaded and shown, and the workflow that it was drawn as."""
    properties = metadata(name, "vae", url=url) if url else None
    drawn = workflow(node(1, "VAELoader", [name], properties=properties))
    return {
        "prompt": {
            "1": {"class_type": "VAELoader", "inputs": {"vae_name": name}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        },
        "client_id": "me",
        "extra_data": {"extra_pnginfo": {"workflow": drawn}},
        **extra,
    }


def until(condition: Callable[[], Any]) -> Any:
    for _ in range(300):
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail("it did not happen within 30 seconds")


def downloads(host: ComfyHostProcess) -> dict[str, str]:
    found = ask(host, "GET", f"{PREFIX}/downloads")[1]["downloads"]
    return {download["filename"]: download["status"] for download in found}


def history(host: ComfyHostProcess) -> Any:
    return host.get("/history")[1]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_what_is_missing_is_fetched_and_then_comfyui_answers(comfyui: ComfyHostProcess, prefix: str) -> None:
    assert ask(comfyui, "POST", "/prompt", prompt())[0] == 400, "ComfyUI alone refuses it"
    status, answer = ask(comfyui, "POST", prefix + PATH, prompt())
    assert (status, set(answer), answer["node_errors"]) == (200, {"prompt_id", "number", "node_errors"}, {})
    held = WORLD.file_at(URL)
    assert held is not None
    assert comfyui.model_path(f"vae/{NAME}").read_bytes() == held.content
    run = until(lambda: history(comfyui).get(answer["prompt_id"]))
    assert (run["status"]["status_str"], run["prompt"][3]["client_id"]) == ("success", "me")
    assert run["prompt"][3]["extra_pnginfo"] == prompt()["extra_data"]["extra_pnginfo"], "passed on whole"


def test_what_the_prompt_does_not_run_is_not_fetched(comfyui: ComfyHostProcess) -> None:
    body = prompt()
    body["prompt"]["1"]["inputs"]["vae_name"] = "pixel_space"
    assert ask(comfyui, "POST", PATH, body)[0] == 200
    assert downloads(comfyui) == {}


def test_without_the_workflow_the_prompt_is_read_alone(comfyui: ComfyHostProcess) -> None:
    status, answer = ask(comfyui, "POST", PATH, {"prompt": prompt()["prompt"]})
    assert (status, answer["error"]["details"]["models"][0]["code"]) == (424, "NOT_FOUND"), (
        "only its metadata says where it is"
    )


def test_what_nobody_has_is_named_and_nothing_is_fetched(comfyui: ComfyHostProcess) -> None:
    body = prompt()
    body["prompt"]["3"] = {"class_type": "VAELoader", "inputs": {"vae_name": "nobody-has.safetensors"}}
    body["prompt"]["4"] = {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}}
    status, answer = ask(comfyui, "POST", PATH, body)
    assert (status, answer["error"]["code"]) == (424, "MODELS_MISSING")
    (model,) = answer["error"]["details"]["models"]
    assert (model["id"], model["code"]) == ("vae/nobody-has.safetensors", "NOT_FOUND")
    assert "vae/nobody-has.safetensors" in answer["error"]["message"]
    assert (downloads(comfyui), history(comfyui)) == ({}, {})


def test_what_needs_the_user_says_what_to_do_and_where(comfyui: ComfyHostProcess) -> None:
    _, answer = ask(comfyui, "POST", PATH, prompt("gated.safetensors", GATED))
    (model,) = answer["error"]["details"]["models"]
    assert model["code"] in ("NEEDS_LICENCE", "NEEDS_TOKEN")
    assert model["url"].startswith("https://huggingface.co/closed/r")


def test_what_is_here_under_another_name_is_told_and_not_relinked(comfyui: ComfyHostProcess) -> None:
    comfyui.add_model(f"vae/sub/{NAME}")
    status, answer = ask(comfyui, "POST", PATH, prompt())
    (model,) = answer["error"]["details"]["models"]
    assert (status, model["code"], f"vae/sub/{NAME}" in model["message"]) == (424, "ELSEWHERE", True)
    assert downloads(comfyui) == {}


def test_a_download_that_is_cancelled_meanwhile_fails_the_prompt(comfyui: ComfyHostProcess) -> None:
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(ask, comfyui, "POST", PATH, prompt())
        until(lambda: "active" in downloads(comfyui).values())
        ask(comfyui, "POST", f"{PREFIX}/downloads/cancel", {})
        status, answer = asked.result()
    (model,) = answer["error"]["details"]["models"]
    assert (status, model["id"], model["code"]) == (424, f"vae/{NAME}", "DOWNLOAD_CANCELLED")
    assert history(comfyui) == {}


def test_whoever_does_not_want_to_wait_gets_the_downloads(comfyui: ComfyHostProcess) -> None:
    for wait in ("false", "0.01"):
        status, answer = ask(comfyui, "POST", f"{PATH}?wait={wait}", prompt())
        assert (status, [download["filename"] for download in answer["downloads"]]) == (202, [NAME])
    until(lambda: downloads(comfyui) == {NAME: "completed"})
    assert history(comfyui) == {}, "nothing is queued behind the caller's back"
    assert ask(comfyui, "POST", f"{PATH}?wait=false", prompt())[0] == 200, "now it is queued at once"


@pytest.mark.parametrize("wait", ["nan", "-1", "soon", "1e9"])
def test_a_wait_that_is_none_is_refused(comfyui: ComfyHostProcess, wait: str) -> None:
    assert code(ask(comfyui, "POST", f"{PATH}?wait={wait}", prompt())) == (400, "QUERY_INVALID")


def test_two_at_once_fetch_it_once(comfyui: ComfyHostProcess, hub: Hub) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(comfyui, "POST", PATH, prompt()), range(4)))
    assert [status for status, _ in answers] == [200] * 4, answers
    assert downloads(comfyui) == {NAME: "completed"}
    assert len(until(lambda: len(found := history(comfyui)) == 4 and found)) == 4


def test_who_hangs_up_leaves_the_download_going_and_no_prompt(comfyui: ComfyHostProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", comfyui.port)
    connection.request("POST", PATH, json.dumps(prompt()), {"Content-Type": "application/json"})
    until(lambda: "active" in downloads(comfyui).values())
    connection.close()
    until(lambda: downloads(comfyui) == {NAME: "completed"})
    assert comfyui.model_path(f"vae/{NAME}").stat().st_size == SIZE
    # Another prompt is answered after the first would have been queued.
    assert ask(comfyui, "POST", PATH, prompt())[0] == 200
    assert len(until(lambda: history(comfyui))) == 1


@pytest.mark.parametrize(
    "body", [{}, {"prompt": {}}, {"prompt": {"1": {"class_type": "Unknown", "inputs": {}}}}]
)
def test_what_is_wrong_with_a_prompt_comfyui_says_itself(comfyui: ComfyHostProcess, body: Any) -> None:
    ours, theirs = ask(comfyui, "POST", PATH, body), ask(comfyui, "POST", "/prompt", body)
    assert ours == theirs
    assert ours[0] == 400


def test_prompts_without_limit_are_refused(comfyui: ComfyHostProcess) -> None:
    many: dict[str, Any] = {"0": {"class_type": "PreviewAny", "inputs": {}}}
    for number in range(1, MOST_MODELS + 2):
        many[str(number)] = {"class_type": "VAELoader", "inputs": {"vae_name": f"{number}.safetensors"}}
        many[f"{number}o"] = {"class_type": "PreviewAny", "inputs": {"source": [str(number), 0]}}
    assert code(ask(comfyui, "POST", PATH, {"prompt": many})) == (413, "TOO_MANY_MODELS")
    huge = b'{"prompt": "' + b" " * (11 << 20) + b'"}'
    assert code(ask(comfyui, "POST", PATH, huge, {"Content-Type": "application/json"})) == (
        413,
        "WORKFLOW_TOO_LARGE",
    )
