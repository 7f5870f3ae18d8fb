"""Headers of files on servers: read by range where names do not decide, and never in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from demo.faults import Fault
from demo.files import HubFile
from demo.layouts import Layout, layout_of
from demo.world import HubRepo, World
from resolver.sources import Contents, Context
from resolver.sources.asking import Budget
from resolver.sources.cache import StoreCache
from resolver.sources.headers import MAX_HEADER, read_contents
from resolver.store import Store
from tests.searching import searching, wanted

NAME = "turtle_v3.safetensors"
LORA = HubFile.of_layout(f"loras/{NAME}", "lora", layout_of("loras", NAME))
VAE = HubFile.of_layout(f"vae/{NAME}", "vae", layout_of("vae", NAME))
MANY = Layout(tuple(f"diffusion_model.blocks.{n}.attn.to_q.lora_A.weight" for n in range(900)), "F16", (2, 2))
LARGE = HubFile.of_layout("large_turtle.safetensors", "large", MANY)
REPOS = (
    HubRepo("amy/turtle-lora", (LORA,), downloads=1),
    HubRepo("joker/turtle-v3", (VAE,), downloads=99),
    HubRepo("amy/large-turtle", (LARGE,)),
)
WORLD = World({repo.id: repo for repo in REPOS})
IS_LORA = Contents(frozenset({"lora"}), frozenset(), frozenset({"bf16"}))
READ = "storage.read"


def url_of(file: HubFile, repo: HubRepo) -> str:
    return f"https://huggingface.co/{repo.id}/resolve/main/{file.path}"


# --- where names do not decide ------------------------------------------------------------------


async def test_of_two_files_of_one_name_the_one_that_is_no_lora_goes_behind() -> None:
    async with searching(WORLD) as search:
        found = await search.find(wanted(NAME))
        assert search.routes(READ) == 2
    assert [(c.sha256, c.confidence) for c in found.candidates] == [
        (LORA.sha256, "probable"),
        (VAE.sha256, "possible"),
    ]
    assert (found.state, found.errors) == ("resolved", [])


async def test_nothing_is_read_where_nothing_is_in_doubt() -> None:
    async with searching(WORLD) as search:
        await search.find(wanted(NAME, sha256=LORA.sha256))
        assert search.routes(READ) == 0


async def test_a_workflow_of_another_family_speaks_against_a_lora() -> None:
    layout = Layout(("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",), "F16", (2, 2))
    repo = HubRepo("amy/crab", (HubFile.of_layout("crab.safetensors", "crab", layout),))
    async with searching(World({repo.id: repo})) as search:
        for family, confidence in (("sdxl", "possible"), ("flux1", "probable")):
            found = await search.find(wanted("crab.safetensors"), Context(families=frozenset({family})))
            assert [c.confidence for c in found.candidates] == [confidence]


async def test_at_most_three_headers_are_read_and_none_that_may_not_be() -> None:
    repos = [
        HubRepo(f"u{n}/turtle-{n}", (HubFile(NAME, 4096, str(n)),), gated="auto" if n < 2 else None)
        for n in range(7)
    ]
    async with searching(World({repo.id: repo for repo in repos})) as search:
        found = await search.find(wanted(NAME))
        read = [entry.repo for entry in search.hub.log.entries() if entry.route == READ]
    assert len(found.candidates) == 7
    assert len(read) == 3
    assert not {"u0/turtle-0", "u1/turtle-1"} & set(read)


@pytest.mark.parametrize(
    "fault", [Fault("status", 500), Fault("html"), Fault("disconnect"), Fault("status", 403)]
)
async def test_storage_that_fails_costs_nothing_but_the_knowledge(fault: Fault) -> None:
    async with searching(WORLD, faults={READ: fault}) as search:
        found = await search.find(wanted(NAME))
        again = await search.find(wanted(NAME))
    assert {c.confidence for c in found.candidates} == {"probable"}
    assert (found.state, found.errors) == ("ambiguous", [])
    assert again == found, "the site itself is not held for unreachable"


async def test_what_a_content_holds_is_asked_once_wherever_it_lies(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    async with searching(WORLD, cache=StoreCache(store)) as search:
        for place in (url_of(LORA, REPOS[0]), "https://huggingface.co/other/place/resolve/main/x"):
            assert await search.headers(place, LORA.sha256, Budget()) == IS_LORA
        assert search.routes(READ) == 1
    store.close()


async def test_a_long_header_takes_a_second_request_of_just_the_rest() -> None:
    async with searching(WORLD) as search:
        assert await search.headers(url_of(LARGE, REPOS[2]), None, Budget()) is not None
        ranges = [e.headers["Range"] for e in search.hub.log.entries() if e.route == READ]
    length = int.from_bytes(LARGE.content[:8], "little")
    assert length > 1 << 16
    assert ranges == ["bytes=0-65535", f"bytes=65536-{8 + length - 1}"]


async def test_a_host_that_may_not_be_asked_is_not() -> None:
    async with searching(WORLD) as search:
        assert await search.headers("https://elsewhere.example/x.safetensors", None, Budget()) is None


# --- what is no header --------------------------------------------------------------------------


def packed(header: Any, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Log in</title>",
        packed(b'{"a": '),
        packed(b"{" + b"[" * 50_000),
        packed(b'{"\xff": 1}'),
        packed({"a": 1}, length=400),
        packed({"a": 1}, length=MAX_HEADER + 1),
        packed({"a": 1}, length=2**64 - 1),
        packed({"a": 1}, length=0),
        packed(b"[1, 2, 3]"),
    ],
)
async def test_what_is_no_header_tells_nothing(body: bytes) -> None:
    async def fetch(first: int, end: int) -> bytes:
        assert end - first <= MAX_HEADER
        return body[first:end]

    assert await read_contents(fetch) is None


async def test_a_server_that_ignores_ranges_is_not_read_from() -> None:
    asked = []

    async def fetch(first: int, end: int) -> None:
        asked.append((first, end))

    assert await read_contents(fetch) is None
    assert len(asked) == 1


async def test_a_whole_small_file_is_read_at_once() -> None:
    async def fetch(first: int, end: int) -> bytes:
        return LORA.content[first:end]

    assert await read_contents(fetch) == IS_LORA
