"""Remembered answers: in the store, and in a real Redis server that two programs share."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resolver.errors import SettingsError
from resolver.settings import load_settings
from resolver.sources.asking import Asker, Budget, Remembered
from resolver.sources.cache import RedisCache, StoreCache, open_cache
from resolver.store import Store
from tests.test_asking import Server

ANSWER = Remembered({"files": ["ü.safetensors"], "next": None}, 'W/"abc"', time.time() + 1000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite3")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of our own, with a password."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("redis-server is missing: tools/programs.sh redis-server installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", ""]
    running = subprocess.Popen(
        [program, *options, "--requirepass", "secret"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://:secret@127.0.0.1:{port}/0"
    finally:
        running.terminate()
        running.wait()


async def test_the_store_remembers_over_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store(tmp_path / "store.sqlite3")
        cache = StoreCache(store)
        known = await cache.get("question")
        await cache.put("question", ANSWER)
        store.close()
    assert known == ANSWER


async def test_the_store_forgets_what_is_old(store: Store) -> None:
    await StoreCache(store).put("old", ANSWER)
    with store.transaction() as connection:
        connection.execute("UPDATE answers SET written_at = written_at - 31 * 86400")
    await StoreCache(store).put("new", ANSWER)
    assert await StoreCache(store).get("old") is None
    assert await StoreCache(store).get("new") == ANSWER


async def test_an_answer_that_cannot_be_read_is_no_answer(store: Store) -> None:
    await StoreCache(store).put("question", ANSWER)
    for damaged in ("", "{", "[]", '{"value": 1}', '{"value": 1, "etag": null, "fresh_until": "soon"}'):
        with store.transaction() as connection:
            connection.execute("UPDATE answers SET answer = ?", (damaged,))
        assert await StoreCache(store).get("question") is None


async def test_a_store_that_fails_costs_time_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    store.close()
    server = Server("yes")
    assert await Asker(StoreCache(store)).ask("host", "question", server, Budget()) == "yes"


async def test_two_programs_share_redis(redis_url: str) -> None:
    writer, reader = RedisCache(redis_url), RedisCache(redis_url)
    await writer.put("shared", ANSWER)
    assert await reader.get("shared") == ANSWER
    assert await reader.get("never asked") is None
    server = Server("not needed")
    assert await Asker(reader).ask("host", "shared", server, Budget()) == ANSWER.value
    assert server.etags == []
    await writer.close()
    await reader.close()


async def test_redis_forgets_by_itself_and_its_keys_say_nothing(redis_url: str) -> None:
    from redis import asyncio as redis

    cache, client = RedisCache(redis_url), redis.Redis.from_url(redis_url)
    await cache.put("secret project name", ANSWER)
    keys = await client.keys("*")
    assert keys
    assert all(key.startswith(b"comfyui-model-resolver:answer:") for key in keys)
    assert not any(b"secret" in key for key in keys)
    assert 0 < await client.ttl(keys[0]) <= 30 * 86400
    await client.aclose()
    await cache.close()


@pytest.mark.parametrize(
    "wrong", [lambda url: url.replace("secret", "guess"), lambda url: "redis://127.0.0.1:1/0"]
)
async def test_a_redis_that_fails_costs_time_only_and_is_complained_of_once(
    redis_url: str, wrong: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    cache = RedisCache(wrong(redis_url))
    asker, server = Asker(cache), Server("yes")
    assert [await asker.ask("host", f"question {n}", server, Budget()) for n in range(3)] == ["yes"] * 3
    complaints = [record.getMessage() for record in caplog.records if "Redis" in record.getMessage()]
    assert len(complaints) == 1
    assert "secret" not in complaints[0]
    assert "guess" not in complaints[0]
    await cache.close()


async def test_the_settings_choose(store: Store, redis_url: str) -> None:
    def opened(**settings: object) -> object:
        return open_cache(load_settings(settings).values, store)

    assert isinstance(opened(), StoreCache)
    assert isinstance(opened(redis_url=redis_url), RedisCache)
    nothing = open_cache(load_settings({"enable_cache": False, "redis_url": redis_url}).values, store)
    await nothing.put("question", ANSWER)
    assert await nothing.get("question") is None
    with pytest.raises(SettingsError) as refused:
        opened(redis_url="http://secret.example")
    assert "secret" not in refused.value.message
    await asyncio.sleep(0)
