"""ComfyUI killed in mid-download, and started again: the download goes on, and the file is right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from demo.hub import running_hub
from demo.world import World
from resolver.http.table import PREFIX
from tests.comfy_host.driver import ComfyHostProcess

CHECKOUT = Path(__file__).resolve().parent.parent
URL = "https://huggingface.co/o/r/resolve/main/big.safetensors"
SIZE = 24 * 1024 * 1024


def wait_until(condition, text: str) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 40
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(text)
        time.sleep(0.05)


def test_killed_in_mid_download_it_resumes_after_the_restart(tmp_path: Path) -> None:
    world = World.for_urls([URL], sizes=SIZE)
    held = world.file_at(URL)
    assert held is not None
    with (
        running_hub(world, bytes_per_second=6_000_000) as hub,
        ComfyHostProcess(
            tmp_path, packs={"resolver": CHECKOUT}, env={**hub.environment(), "CMR_DISK_RESERVE": "1MB"}
        ) as host,
    ):
        item = {"folder": "diffusion_models", "filename": "big.safetensors", "url": URL}
        status, answer = host.post(f"{PREFIX}/downloads", {"items": [item]})
        assert status == 202
        name = answer["downloads"][0]["id"]

        def received() -> int:
            return int(host.get(f"{PREFIX}/downloads/{name}")[1]["received"])

        wait_until(lambda: received() > SIZE // 2, "half of it never came")
        before = received()
        host.kill()
        final = host.model_path("diffusion_models/big.safetensors")
        assert not final.exists()

        host.restart()
        # Nobody asks for it: it goes on by itself.
        wait_until(final.is_file, "it did not go on after the restart")
        assert final.read_bytes() == held.content
        wait_until(
            lambda: host.get(f"{PREFIX}/downloads/{name}")[1]["status"] == "completed", "it is not completed"
        )
        ranges = [entry.headers["Range"] for entry in hub.log.entries("storage") if "Range" in entry.headers]
        start = int(ranges[-1].removeprefix("bytes=").split("-")[0])
        fetched_again = max(0, before - start)
        print(f"killed at {before} of {SIZE} bytes, went on at {start}: {fetched_again} bytes fetched again")
        assert fetched_again <= SIZE // 10
        assert list(tmp_path.rglob("*.part")) == []
