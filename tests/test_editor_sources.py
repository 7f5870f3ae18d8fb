"""What a search found, and how far it got: candidates side by side, warnings, sources that failed."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from demo.civitai.catalog import CivitaiFile, CivitaiModel, CivitaiVersion
from demo.faults import Fault
from demo.files import HubFile
from demo.hub import running_hub
from demo.world import HubRepo, World
from tests.comfy_host.driver import ComfyHostProcess, free_port, set_theme
from tests.editor_graphs import chain, one_loader
from tests.editor_page import CHECKOUT, RESERVE, open_panel, part, row, screenshot, wait_until

GULL = "gullRealism_v3.safetensors"
DANGER, UNSCANNED, EARLY = "mothWings_v1.safetensors", "owlEyes_v2.safetensors", "crowFeather_v4.safetensors"


def file(path: str, seed: str = "", size: int = 4096) -> HubFile:
    return HubFile(path, size, seed or path)


def civitai(number: int, title: str, version: str, name: str, **about: object) -> CivitaiModel:
    """A LoRA of one version with one file; ``about``: fields of the file and of the version."""
    scan = about.pop("scan", "Success")
    held = CivitaiFile(number * 100, file(name), scan=scan)  # type: ignore[arg-type]
    return CivitaiModel(
        number,
        title,
        "LORA",
        (CivitaiVersion(number * 10, version, (held,), **about),),  # type: ignore[arg-type]
        creator=f"maker-{number}",
    )


WORLD = World(
    {
        repo.id: repo
        for repo in (
            HubRepo("gull-lab/gullRealism_v3", (file(GULL, "one"),), downloads=9),
            HubRepo("gull-fans/gullRealism_v3-copy", (file(GULL, "two", 8192),), downloads=8),
        )
    },
    civitai=(
        civitai(1, "Moth Wings", "v1", DANGER, scan="Danger"),
        civitai(2, "Owl Eyes", "v2", UNSCANNED, scan="Pending"),
        civitai(3, "Crow Feather", "v4", EARLY, early_access_until=datetime(2099, 1, 1, tzinfo=timezone.utc)),
    ),
)


def host_for(tmp_path: Path, environment: dict[str, str]) -> ComfyHostProcess:
    env = {**environment, **RESERVE}
    host = ComfyHostProcess(tmp_path, packs={"model-resolver": CHECKOUT}, env=env)
    host.add_model("checkpoints/base.safetensors")
    return host


def inside(scope: Locator, name: str) -> Locator:
    return scope.locator(f"[data-testid='model-resolver-{name}']")


def test_two_contents_of_one_name_are_shown_with_what_tells_them_apart(page: Page, tmp_path: Path) -> None:
    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        open_panel(page, host, one_loader(GULL))
        mine = row(page, f"loras/{GULL}")
        expect(mine).to_have_attribute("data-state", "ambiguous")
        inside(mine, "more").click()
        offered = inside(mine, "candidate")
        expect(offered).to_have_count(2)
        for repo, held in (("gull-lab/gullRealism_v3", "one"), ("gull-fans/gullRealism_v3-copy", "two")):
            shown = offered.filter(has_text=repo)
            content = next(found for found in WORLD.repos[repo].files if found.seed == held)
            expect(shown).to_contain_text(content.sha256[:10])
            expect(shown).to_contain_text("4 KB" if held == "one" else "8 KB")
            expect(shown).to_contain_text("same file name")
            expect(inside(shown, "source")).to_have_attribute("href", f"https://huggingface.co/{repo}")
        screenshot(page, "sources-ambiguous")
        set_theme(page, "light")
        screenshot(page, "sources-ambiguous-light")

        offered.filter(has_text="gull-fans").locator("input").check()
        part(page, "download-all").click()
        wait_until(page, host.model_path(f"loras/{GULL}").is_file)
        assert host.model_path(f"loras/{GULL}").stat().st_size == 8192


def test_what_scanners_warn_of_is_never_taken_along(page: Page, tmp_path: Path) -> None:
    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        open_panel(page, host, chain(DANGER, UNSCANNED, EARLY))
        danger, unscanned, early = (row(page, f"loras/{name}") for name in (DANGER, UNSCANNED, EARLY))
        expect(inside(danger, "safety")).to_have_attribute("data-safety", "danger")
        expect(inside(danger, "safety")).to_contain_text("Scanners warn")
        expect(inside(danger, "select")).not_to_be_checked()
        expect(inside(unscanned, "safety")).to_contain_text("Not scanned")
        expect(inside(danger, "source")).to_contain_text("maker-1")
        expect(inside(danger, "evidence")).to_contain_text("Civitai")
        expect(inside(early, "needs")).to_be_visible()
        expect(inside(early, "licence")).to_have_attribute(
            "href", re.compile(r"^https://civitai\.com/models/3")
        )
        expect(inside(early, "token-page")).to_have_attribute("href", "https://civitai.com/user/account")
        screenshot(page, "sources-civitai")

        button = part(page, "download-all")
        expect(button).to_contain_text("Download 1 model")
        expect(part(page, "select-all")).to_have_count(0)  # there is but one to choose
        inside(danger, "select").check()
        expect(button).to_contain_text("Download 2 models")
        inside(danger, "select").uncheck()
        button.click()
        wait_until(page, host.model_path(f"loras/{UNSCANNED}").is_file)
        assert not host.model_path(f"loras/{DANGER}").exists()


def test_select_all_leaves_out_what_needs_a_thought(page: Page, tmp_path: Path) -> None:
    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        open_panel(page, host, chain(DANGER, EARLY, UNSCANNED, GULL))
        expect(inside(row(page, f"loras/{EARLY}"), "needs")).to_be_visible()
        expect(part(page, "searching")).to_have_count(0)
        part(page, "select-all").click()  # none
        expect(part(page, "download-all")).to_contain_text("Nothing selected")
        part(page, "select-all").click()
        expect(part(page, "download-all")).to_contain_text("Download 2 models")
        for name in (DANGER, EARLY):
            expect(inside(row(page, f"loras/{name}"), "select")).not_to_be_checked()


def test_being_offline_is_one_calm_line(page: Page, tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    environment = {
        "CMR_HF_ENDPOINT": f"http://{nobody}",
        "CMR_CIVITAI_ENDPOINT": f"http://{nobody}",
        "CMR_ALLOWED_HOSTS": nobody,
    }
    with host_for(tmp_path, environment) as host:
        open_panel(page, host, chain(DANGER, UNSCANNED, GULL))
        notice = part(page, "notice")
        expect(notice).to_have_attribute("data-code", "OFFLINE")
        expect(notice).to_have_count(1)
        expect(part(page, "source-error")).to_have_count(0)
        expect(row(page, f"loras/{GULL}")).to_contain_text("Nothing on this machine")
        screenshot(page, "sources-offline")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (
            Fault("status", status=429, headers={"Retry-After": "3000"}),
            "RATE_LIMITED",
            "so does a token",
        ),
        (Fault("status", status=503), "SERVER_ERROR", "could not be searched"),
    ],
)
def test_a_source_that_failed_is_named_once(
    page: Page, tmp_path: Path, fault: Fault, code: str, words: str
) -> None:
    with (
        running_hub(WORLD, faults={"huggingface.*": fault}) as hub,
        host_for(tmp_path, hub.environment()) as host,
    ):
        open_panel(page, host, chain(GULL, "sparrow.safetensors"))
        notice = part(page, "notice")
        expect(notice).to_have_attribute("data-code", code)
        expect(notice).to_have_count(1)
        expect(notice).to_contain_text("Hugging Face")
        expect(notice).to_contain_text(words)
        mine = row(page, f"loras/{GULL}")
        expect(mine).to_contain_text("not every source could be asked")
        expect(inside(mine, "source-error")).to_have_count(0)
        inside(mine, "toggle").click()
        expect(inside(mine, "source-error")).to_have_attribute("data-code", code)
        screenshot(page, f"sources-{code.lower()}")


def test_what_was_downloaded_before_is_said_to_have_been(page: Page, tmp_path: Path) -> None:
    url = f"https://huggingface.co/gull-lab/gullRealism_v3/resolve/main/{GULL}"
    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        host.post("/model-resolver/downloads", {"items": [{"folder": "loras", "filename": GULL, "url": url}]})
        path = host.model_path(f"loras/{GULL}")
        wait_until(page, path.is_file)
        path.unlink()
        open_panel(page, host, one_loader(GULL))
        expect(inside(row(page, f"loras/{GULL}"), "evidence")).to_contain_text("downloaded here before")


def test_hashing_does_not_make_the_panel_look_again(page: Page, tmp_path: Path) -> None:
    """Only its end does. The events are the server's, told by the editor's own socket or by us."""
    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        open_panel(page, host, one_loader(GULL))
        expect(row(page, f"loras/{GULL}")).to_be_visible()
        page.wait_for_load_state("networkidle")  # the looks that opening the graph is worth are over
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))

        def tell(state: str) -> None:
            detail = {"id": "hashing", "hashing": {"state": state, "done": 1, "total": 3}}
            page.evaluate(
                "detail => window.app.api.dispatchCustomEvent('model-resolver.library', detail)", detail
            )

        def scans() -> int:
            return len([url for url in asked if url.endswith("/analyze")])

        for state in ("running", "waiting", "paused", "running"):
            tell(state)
        page.wait_for_timeout(1500)
        assert scans() == 0
        host.post("/model-resolver/library/hash", {"action": "start"})  # a real run, to its real end
        wait_until(page, lambda: scans() > 0)


def test_the_queue_says_that_another_program_downloads_it(page: Page, tmp_path: Path) -> None:
    url = f"https://huggingface.co/gull-lab/gullRealism_v3/resolve/main/{GULL}"
    download = {
        "id": "1",
        "folder": "loras",
        "filename": GULL,
        "url": url,
        "status": "queued",
        "size": 4096,
        "received": 0,
        "speed": 0,
        "eta": None,
        "connections": 0,
        "sha256": None,
        "verified": False,
        "error": {"code": "DOWNLOADING_ELSEWHERE", "message": "…"},
        "path": None,
        "created_at": 1.0,
    }

    def tell(**changes: object) -> None:
        page.evaluate(
            "detail => window.app.api.dispatchCustomEvent('model-resolver.download', detail)",
            {**download, **changes},
        )

    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        open_panel(page, host, one_loader(GULL))
        progress = inside(row(page, f"loras/{GULL}"), "progress")
        tell()
        expect(progress).to_contain_text("Another program is downloading it")
        tell(error={"code": "RATE_LIMITED", "message": "…"})
        expect(progress).to_contain_text("Will be tried again by itself")
        expect(progress).to_contain_text("asks for fewer requests")
        tell(status="active", error=None, connections=4, received=1024)
        expect(progress.get_by_title("4 connections")).to_be_visible()
