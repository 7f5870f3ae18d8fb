"""The whole program for tests of its sources: its own list of them, the sites as hubs on loopback, a package
with a source of its own, and downloads into a model folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo.civitai.catalog import CivitaiFile, CivitaiModel, CivitaiVersion
from demo.faults import Fault
from demo.files import HubFile
from demo.hub import Hub
from demo.world import HubRepo, World
from resolver.app import Resolver
from resolver.host.standalone import StandaloneHost
from resolver.schemas import Candidate, Download, DownloadItem, Resolution
from resolver.settings import load_settings
from resolver.sources import Context, Wanted
from resolver.workflow import EmbeddedModel
from tests.fault_server import Exchange, FaultServer
from tests.graphs import metadata, node, workflow
from tests.test_local_catalogs import row
from tests.test_plugins import DOCUMENT, install

NAME = "heron.safetensors"
HERON = HubFile(NAME, 4096, "heron")
IMPOSTOR = HubFile(NAME, 4096, "impostor")
HF = "https://huggingface.co"
HERE = f"{HF}/amy/heron/resolve/main/{NAME}"  # what the source of a cell knows of
THERE = f"{HF}/ann/birds/resolve/main/{NAME}"  # what a note of the workflow links to
FALSE = f"{HF}/joker/stash/resolve/main/{NAME}"  # what is not what it is called
MIRROR = f"https://www.modelscope.cn/models/amy/heron/resolve/master/{NAME}"


class Lying(HubFile):
    """Is listed with another's hash."""

    @property
    def sha256(self) -> str:
        return HERON.sha256


class Lab:
    """A program and what it may ask. ``teach`` has a source know of a file of the wanted name."""

    def __init__(self, base: Path, patch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
        self.base, self.patch, self.log = base, patch, log
        self.faults: dict[str, Fault] = {}
        self.corrupt: set[str] = set()
        self.modelscope: dict[str, HubRepo] = {}
        repos = {"amy/heron": HERON, "ann/birds": HERON, "joker/stash": IMPOSTOR}
        model = CivitaiModel(1, "heron", "LORA", (CivitaiVersion(10, "v1", (CivitaiFile(100, HERON),)),))
        world = World(
            {name: HubRepo(name, (file,)) for name, file in repos.items()},
            civitai=(model,),
            modelscope=self.modelscope,
        )
        self.hub = Hub(world, faults=self.faults, corrupt=self.corrupt)
        self.studio = FaultServer()
        self.listing: bytes = b"[]"
        self.embedded: list[EmbeddedModel] = []
        self.notes: tuple[str, ...] = ()
        self.resolver: Resolver

    @property
    def saved(self) -> Path:
        """Where the user keeps workflows."""
        return self.base / "comfy" / "user" / "default" / "workflows"

    @property
    def templates(self) -> Path:
        return self.base / "templates"

    @property
    def model_list(self) -> Path:
        return self.base / "manager" / "model-list.json"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Lab]:
        for directory in (self.base / "comfy" / "models" / "loras", self.saved, self.templates):
            directory.mkdir(parents=True)
        packages = self.base / "packages"
        for directory in (packages, self.model_list.parent):
            directory.mkdir()
        self.studio.routes["/models.json"] = self._list
        async with self.studio:
            await self.hub.start()
            [example] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
            install(packages, "studio", "studio_models", example.replace("8765", str(self.studio.port)))
            self.patch.syspath_prepend(str(packages))
            self.patch.setattr("resolver.digest.installed_templates", lambda: ("t 1", self.templates))
            self.patch.setattr("resolver.sources.catalog.util.find_spec", self._find_spec)
            self.resolver = Resolver(self._settings(), StandaloneHost(self.base / "comfy"))
            self.resolver.start()
            try:
                yield self
            finally:
                await asyncio.to_thread(self.resolver.close)
                await self.hub.stop()
                sys.modules.pop("studio_models", None)

    def _settings(self) -> Any:
        hosts = (self.hub.endpoint, self.hub.civitai, self.hub.modelscope, self.hub.storage)
        places = [*(host.removeprefix("http://") for host in hosts), self.studio.place]
        return load_settings(
            {
                "hf_endpoint": self.hub.endpoint,
                "civitai_endpoint": self.hub.civitai,
                "modelscope": True,
                "modelscope_endpoint": self.hub.modelscope,
                "allowed_hosts": ",".join(places),
                "disk_reserve": 0,
            }
        )

    def _find_spec(self, name: str) -> Any:
        if name == "comfyui_manager":
            return SimpleNamespace(submodule_search_locations=[str(self.model_list.parent)])
        return util.spec_from_loader(name, None)

    async def _list(self, exchange: Exchange) -> None:
        await exchange.answer(200, {"Content-Type": "application/json"}, self.listing)

    def teach(self, source: str, url: str = HERE, sha256: str | None = None) -> None:
        """``sha256``: what it says of the file there, where it is one that says anything."""
        stated = {"hash": sha256, "hash_type": "SHA256"} if sha256 else {}
        graph = workflow(
            node(1, "LoraLoader", [NAME, 1, 1], properties=metadata(NAME, "loras", url, **stated))
        )
        if source == "workflow":
            self.embedded.append(EmbeddedModel(NAME, url, "loras", sha256, "SHA256"))
        elif source == "templates":
            (self.templates / "taught.json").write_text(json.dumps(graph))
        elif source == "examples":
            (self.saved / "taught.json").write_text(json.dumps(graph))
        elif source == "manager":
            listed = {"filename": NAME, "url": url, "type": "lora", "save_path": "default"}
            self.model_list.write_text(json.dumps({"models": [listed]}))
        elif source == "history":
            known = row(NAME, "completed", url=url, verified=True, sha256=sha256 or HERON.sha256)
            self.resolver.store.add_downloads([known])
        elif source == "studio":
            self.listing = json.dumps([{"name": NAME, "url": url, "sha256": sha256}]).encode()
        elif source == "modelscope":
            self.modelscope["amy/heron"] = HubRepo("amy/heron", (HERON,))
        else:
            assert source in ("huggingface", "civitai"), "these know of it as it is"

    async def find(self, *only: str, name: str = NAME, sha256: str | None = None) -> Resolution:
        model = Wanted(f"loras/{name}", "loras", name, sha256=sha256)
        context = Context(tuple(self.embedded), self.notes)
        [found] = await self.find_all([model], context, *only)
        return found

    async def find_all(self, models: list[Wanted], context: Context, *only: str) -> list[Resolution]:
        async def collect() -> list[Resolution]:
            found = self.resolver.resolve(models, context, only=only)
            return [resolution async for resolution in found]

        return await asyncio.wait_for(self.resolver.engine.run(collect()), 30)

    async def find_beside_a_note(self, source: str) -> tuple[list[Candidate], list[tuple[str, str]]]:
        """What is found if the workflow has a note as well; asserts that what it says is not lost."""
        self.notes = (f"get {THERE}",)
        found = await self.find(source, "workflow")
        assert THERE in places(found), "what others say is not lost"
        return found.candidates, [(error.source, error.code) for error in found.errors]

    async def download(self, url: str, sha256: str | None) -> Download:
        """The download once it has ended."""

        async def fetch() -> Download:
            queue = self.resolver.downloads
            [download] = await queue.submit(
                [DownloadItem(folder="loras", filename=NAME, url=url, sha256=sha256)]
            )
            while download.status not in ("completed", "failed", "cancelled"):
                await asyncio.sleep(0.01)
                download = await queue.get(download.id)
            return download

        return await asyncio.wait_for(self.resolver.engine.run(fetch()), 30)

    def files(self) -> list[str]:
        """The model files that ComfyUI would list."""
        return [path.name for path in (self.base / "comfy" / "models").rglob("*.safetensors")]

    async def assert_is_refused(self, url: str) -> None:
        """That what lies there does not pass for the wanted file."""
        ended = await self.download(url, HERON.sha256)
        assert (ended.status, ended.error and ended.error.code) == ("failed", "HASH_MISMATCH")
        assert self.files() == []


def places(found: Resolution) -> list[str]:
    return [url for candidate in found.candidates for url in (candidate.url, *candidate.mirrors)]


@contextmanager
def stuck(path: Path) -> Iterator[None]:
    """A file that hangs whoever opens it, as those of a server that is gone do."""
    os.mkfifo(path)
    try:
        yield
    finally:
        end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        path.unlink()
        os.close(end)
