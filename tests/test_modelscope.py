"""ModelScope: another place for files of Hugging Face, only where it is on and only for the very content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demo.faults import Fault
from demo.files import HubFile
from demo.world import HubRepo, World
from resolver.app import Resolver
from resolver.errors import UrlRefused
from resolver.host.standalone import StandaloneHost
from resolver.net.policy import UrlPolicy
from resolver.settings import Settings, load_settings
from resolver.sources.cache import StoreCache
from resolver.store import Store
from tests.searching import Searching, searching, wanted

NAME = "heron v1.safetensors"
HERON = HubFile(f"split files/{NAME}", 4096, "heron")
REPO = HubRepo("amy/heron", (HERON,))
FILES = "modelscope.files"


def world(mirror: HubFile | None) -> World:
    there = {REPO.id: replace(REPO, files=(mirror,))} if mirror else {}
    return World({REPO.id: REPO}, modelscope=there)


async def mirrors(search: Searching) -> list[str]:
    found = await search.find(wanted(NAME))
    assert found.errors == []
    [candidate] = found.candidates
    return candidate.mirrors


async def test_a_file_of_equal_content_is_a_mirror() -> None:
    async with searching(world(HERON), modelscope=True) as search:
        assert await mirrors(search) == [
            "https://www.modelscope.cn/models/amy/heron/resolve/master/split%20files/heron%20v1.safetensors"
        ]


@pytest.mark.parametrize(
    "other",
    [replace(HERON, seed="another"), replace(HERON, size=5000), replace(HERON, path=NAME), None],
    ids=["hash", "size", "path", "no repository"],
)
async def test_a_file_that_is_not_the_very_same_is_none(other: HubFile | None) -> None:
    async with searching(world(other), modelscope=True) as search:
        assert await mirrors(search) == []
        assert search.routes(FILES) == 1


@pytest.mark.parametrize(
    "fault", [Fault("status", 500), Fault("html"), Fault("malformed"), Fault("disconnect")]
)
async def test_when_it_does_not_answer_nothing_is_lost_and_nobody_is_bothered(fault: Fault) -> None:
    async with searching(world(HERON), modelscope=True, faults={FILES: fault}) as search:
        assert await mirrors(search) == []


async def test_it_is_asked_once_for_what_is_remembered(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    async with searching(world(HERON), modelscope=True, cache=StoreCache(store)) as search:
        assert await mirrors(search) == await mirrors(search) != []
        assert search.routes(FILES) == 1
    store.close()


async def test_the_mirror_serves_the_very_bytes() -> None:
    async with searching(world(HERON), modelscope=True) as search:
        [mirror] = await mirrors(search)
        async with search.client.open(mirror) as answer:
            assert await answer.response.read() == HERON.content


# --- off by default -----------------------------------------------------------------------------


def test_it_is_off_by_default_and_a_setting_turns_it_on(tmp_path: Path) -> None:
    for given, on in (({}, False), ({"modelscope": True}, True)):
        root = tmp_path / str(on)
        (root / "models").mkdir(parents=True)
        resolver = Resolver(load_settings({"comfyui_root": root, **given}), StandaloneHost(root))
        resolver.start()
        try:
            assert (resolver.resolutions._mirror is not None) is on
        finally:
            resolver.close()


async def test_while_it_is_off_nobody_asks_it() -> None:
    async with searching(world(HERON)) as search:
        assert await mirrors(search) == []
        assert search.hub.log.entries("modelscope") == []


@pytest.mark.parametrize(
    "url", ["https://www.modelscope.cn/models/a/b", "https://cdn-lfs-cn-1.modelscope.cn/x?sig=1"]
)
def test_its_hosts_are_allowed_only_while_it_is_on(url: str) -> None:
    assert UrlPolicy(Settings(modelscope=True)).check(url).scheme == "https"
    with pytest.raises(UrlRefused) as refused:
        UrlPolicy(Settings()).check(url)
    assert refused.value.code == "URL_HOST_NOT_ALLOWED"
    for bad in (
        "https://modelscope.cn.evil.example/x",
        "https://notmodelscope.cn/x",
        "http://modelscope.cn/x",
    ):
        with pytest.raises(UrlRefused):
            UrlPolicy(Settings(modelscope=True)).check(bad)


def test_no_token_of_another_site_belongs_to_it() -> None:
    policy = UrlPolicy(Settings(modelscope=True))
    assert policy.provider(policy.check("https://www.modelscope.cn/models/a/b")) is None
