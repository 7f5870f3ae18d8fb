"""Puts the parts together once; everybody else is handed what they need."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from typing import Any

from . import analysis, schemas
from .credentials import Credentials
from .digest import Digest, load_digest
from .download.queue import DownloadQueue
from .embedding import Embedding, prepare
from .engine import Engine
from .errors import SettingsError
from .events import EventHub
from .folders import FolderKnowledge
from .folders.observed import observe, options
from .folders.stated import read_stated
from .host import FolderSpec, Host
from .host.roots import folder_spec
from .library import Library, LibraryFile
from .library.duplicates import find_duplicates
from .library.hashes import FileHashes, is_hash, status_of
from .library.hashing import HashingProgress, LibraryHashing
from .logs import set_level
from .net.client import HttpClient
from .net.probe import RemoteFile, probe
from .relinking import Relinked, relink
from .resolution import ResolutionService
from .roles import parse_roles
from .settings import LoadedSettings
from .sources import Context, Source, Wanted
from .sources.asking import Asker
from .sources.cache import open_cache
from .sources.catalog import CatalogSource, manager_entries
from .sources.civitai import CivitaiSource
from .sources.examples import WorkflowIndex
from .sources.headers import HeaderReader
from .sources.history import history_entries
from .sources.huggingface import HuggingFaceSource
from .sources.modelscope import ModelScopeMirrors
from .sources.plugins import Tools, plugin_sources
from .sources.workflow import WorkflowSource
from .store import Store
from .workflow import Workflow
from .workflow.embed import ui_part
from .workflow.read import read_workflow

log = logging.getLogger(__name__)

CLOSE_SECONDS = 30.0
"""For how long ``Resolver.close`` waits for what is under way."""


class Resolver:
    """The program. ``start`` it before use and ``close`` it at the end.

    Plain methods block (on the disk, or for milliseconds of work) and belong in a thread; ``async``
    ones run on ``engine``'s loop: await them there through ``engine.run``. ``serves``: this process has a
    loop that serves somebody and must not be held by downloads.
    """

    def __init__(self, settings: LoadedSettings, host: Host, *, serves: bool = False) -> None:
        self._loaded_settings = settings
        self.settings = settings.values
        self.setting_origins = settings.origins
        self.host = host
        self._began = time.monotonic()
        # First what can refuse its settings, then what holds files and threads.
        self.credentials = Credentials(host.data_directory / "credentials.json", self.settings)
        self.client = HttpClient(self.settings, credentials=self.credentials.token)
        self.events = EventHub(host)
        self.store = Store(host.data_directory / "store.sqlite3")
        try:
            self.cache = open_cache(self.settings, self.store)
        except SettingsError:
            self.store.close()
            raise
        self.hashes = FileHashes(self.store)
        self.library = Library(host, self.hashes)
        self._arriving: set[str] = set()
        self.hashing = LibraryHashing(
            self.library,
            self.hashes,
            host.data_directory / "hashing.lock",
            busy=lambda: bool(self._arriving) or host.busy(),
            on_progress=self._hashing_progressed,
        )
        self.engine = Engine()
        self.downloads = DownloadQueue(
            self.store,
            host,
            self.client,
            self.settings,
            on_event=self._download_changed,
            on_completed=self._file_arrived,
            known_files=self.hashes.paths_with,
            beside_host=serves,
        )
        self.asker = Asker(self.cache)
        self.resolutions = ResolutionService(
            self._sources(),
            self._probe,
            self.client.policy.check,
            inspect=HeaderReader(self.client, self.asker),
            mirror=self._mirror(),
            account=lambda: self.client.account("huggingface") + self.client.account("civitai"),
        )
        self._lock = threading.Lock()
        self._arrivals = threading.Lock()
        self._unremembered: list[tuple[str, str]] = []
        self._digest: Digest | None = None
        self._knowledge: FolderKnowledge | None = None

    def start(self) -> None:
        """Start the engine and take up the downloads that an earlier process left unfinished."""
        self.engine.start()
        try:
            self.engine.submit(self.downloads.start()).result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave everything in a state that a later process can take up, and stop the engine."""
        self.hashing.close()
        try:
            self.engine.submit(self._stop()).result(timeout=CLOSE_SECONDS)
        finally:
            self.engine.stop()
            self.store.close()

    def uptime(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    def change_settings(self, changes: Mapping[str, Any]) -> None:
        """Give settings new values while running; raises as ``LoadedSettings.change``. Blocks."""
        changed = self._loaded_settings.change(changes)
        if "bandwidth_limit" in changed:
            self.downloads.set_bandwidth_limit(self.settings.bandwidth_limit)
        if "log_level" in changed:
            set_level(self.settings.log_level)

    def analyze(self, workflow: Workflow, *, afresh: bool = False) -> schemas.Analysis:
        """The models that ``workflow`` wants, each judged against the library.

        ``afresh``: what is known of node types is gathered anew (see ``knowledge``).
        """

        @cache
        def offered(node_type: str, input_name: str) -> frozenset[str] | None:
            return options(self.host, node_type, input_name)

        return analysis.analyze(workflow, self.knowledge(afresh=afresh), self.library.snapshot(), offered)

    def knowledge(self, *, afresh: bool = False) -> FolderKnowledge:
        """What is known of node types; ``afresh`` observes the nodes and reads the YAML again."""
        with self._lock:
            if self._knowledge is None or afresh:
                learned = self._templates().learned
                self._knowledge = FolderKnowledge(
                    stated=read_stated(self.host.user_directory),
                    observed=observe(self.host),
                    learned=learned.nodes,
                    by_input=learned.by_input,
                )
            return self._knowledge

    def wanted(self, workflow: Workflow, found: schemas.Analysis) -> tuple[list[Wanted], Context]:
        """The missing models of an analysis that take part in a run, as ``resolve`` takes them."""
        # Stated names come without extension; the references have them as they stand.
        short = {(stated.folder, stated.name): stated.autov2 for stated in workflow.stated}
        models = [
            Wanted(
                model.id,
                model.folder,
                model.name,
                url=model.url,
                sha256=model.sha256,
                autov2=next(
                    (h for r in model.references if (h := short.get((model.folder or "", r.value)))), None
                ),
            )
            for model in found.models
            if model.status == "missing" and model.active
        ]
        families = (parse_roles(model.name, model.folder).values("family") for model in found.models)
        return models, Context(workflow.embedded(), workflow.notes, frozenset().union(*families))

    def resolve(
        self,
        wanted: Sequence[Wanted],
        context: Context,
        *,
        only: Collection[str] | None = None,
        online: bool = True,
    ) -> AsyncIterator[schemas.Resolution]:
        """One resolution a model as they are found; iterate on the engine's loop."""
        self.hashing.prefer(model.size for model in wanted if model.sha256 and model.size)
        return self._preferring(self.resolutions.resolve(wanted, context, only=only, online=online))

    async def _preferring(
        self, found: AsyncIterator[schemas.Resolution]
    ) -> AsyncIterator[schemas.Resolution]:
        """Has the files hashed first that may turn out to be what was just found elsewhere."""
        async for resolution in found:
            self.hashing.prefer(
                candidate.size
                for candidate in resolution.candidates
                if candidate.sha256 and candidate.size and candidate.confidence != "possible"
            )
            yield resolution

    def relink(
        self, content: dict[str, Any], *, by_hand: Mapping[str, LibraryFile], substitutes: bool
    ) -> list[Relinked]:
        """Make a workflow's JSON name the files that are here; it is changed in place.

        ``by_hand``: the file to name for a model, by its id. ``substitutes``: also take the same model in
        another precision.
        """
        return relink(
            content,
            self.analyze(read_workflow(content)),
            self.knowledge(),
            self.library.snapshot(),
            by_hand=by_hand,
            substitutes=substitutes,
        )

    def embedding(self, content: dict[str, Any]) -> Embedding:
        """What to resolve before ComfyUI's metadata can be written into a workflow's JSON.

        Raises ``WorkflowError`` (``WORKFLOW_HAS_NO_METADATA``) for the API format.
        """
        part = ui_part(content)
        workflow = read_workflow(part)
        return prepare(part, workflow, self.analyze(workflow), self.knowledge(), self.library.sha256_of)

    async def resolved(
        self, embedding: Embedding, *, online: bool, seconds: float | None = None
    ) -> list[schemas.Resolution]:
        """What is found for the models of a workflow, within ``seconds``; await it on the engine's loop."""
        found: list[schemas.Resolution] = []

        async def collect() -> None:
            async for resolution in self.resolve(embedding.wanted, embedding.context, online=online):
                found.append(resolution)

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(collect(), seconds)
        return found

    def folders(self) -> list[FolderSpec]:
        return sorted(self.host.folders().values(), key=lambda spec: spec.name)

    def files(self, folder: str | None, query: str) -> list[LibraryFile]:
        """The library's files by name: those whose name holds all words of ``query``.

        A SHA-256 or an AutoV2 also finds the files of that content, as far as it is known.
        """
        library = self.library.snapshot()
        words = query.lower().split()
        found = [file for file in library.files(folder) if all(word in file.name.lower() for word in words)]
        if len(words) == 1 and is_hash(words[0]):
            found += self.files_with(folder, words[0])
        return sorted(dict.fromkeys(found), key=lambda file: (file.folder, file.name.lower()))

    def files_with(self, folder: str | None, beginning: str) -> list[LibraryFile]:
        """The files on disk whose SHA-256 is known and begins so."""
        found = self.library.snapshot().with_content(beginning, on_disk=True)
        return [file for file in found if folder in (None, file.folder)]

    def shown(self, files: Sequence[LibraryFile]) -> list[schemas.LibraryFile]:
        """Files as the contract shows them, each with its SHA-256 where it is known."""
        known = self.hashes.known(dict.fromkeys(file.path for file in files))
        return [
            schemas.LibraryFile(
                folder=file.folder,
                name=file.name,
                path=file.path,
                size=file.size,
                modified=file.modified,
                sha256=known.get(file.path),
            )
            for file in files
        ]

    def hash_library(self, action: schemas.HashAction, folder: str | None = None) -> schemas.Hashing:
        """Do that with hashing the library (see ``LibraryHashing``); returns how far it is."""
        if action == "start":
            self.hashing.start(folder_spec(self.host, folder).name if folder else None)
        elif action == "cancel":
            self.hashing.cancel()
        elif action == "pause":
            self.hashing.pause()
        else:
            self.hashing.resume()
        return self.hashing_state()

    def hashing_state(self) -> schemas.Hashing:
        """How far hashing is, and what is still to be hashed."""
        return self._told(self.hashing.progress())

    def go_on_hashing(self) -> None:
        """What a process that serves does once it has started: go on with the hashing the user asked for."""
        self.hashing.go_on(anyway=self.settings.hash_library)

    def duplicates(self, folder: str | None = None) -> schemas.DuplicatesAnswer:
        """Files of equal content, as far as it is known."""
        found = find_duplicates(self.library.snapshot().on_disk(folder), self.hashes)
        groups = [
            schemas.DuplicateGroup(
                sha256=group.sha256,
                size=group.size,
                copies=group.copies,
                wasted=group.wasted,
                files=self.shown(group.files),
            )
            for group in found.groups
        ]
        return schemas.DuplicatesAnswer(groups=groups, wasted=found.wasted, unhashed=found.unhashed)

    def _sources(self) -> list[Source]:
        own: list[Source] = [
            WorkflowSource(),
            CatalogSource("templates", lambda: self._locked_templates().entries),
            CatalogSource("manager", lambda: manager_entries(self.host)),
            CatalogSource("examples", WorkflowIndex(self.host, self.store).entries, good_for=60.0),
            CatalogSource("history", lambda: history_entries(self.store), good_for=5.0),
            HuggingFaceSource(self.client, self.asker, self.settings.hf_endpoint),
            CivitaiSource(self.client, self.asker, self.settings.civitai_endpoint),
        ]
        taken = {source.name for source in own}
        return [*own, *plugin_sources(Tools(self.client, self.asker), taken)]

    def _mirror(self) -> ModelScopeMirrors | None:
        if not self.settings.modelscope:
            return None
        return ModelScopeMirrors(self.client, self.asker, self.settings.modelscope_endpoint)

    def _locked_templates(self) -> Digest:
        with self._lock:
            return self._templates()

    def _templates(self) -> Digest:
        if self._digest is None:
            self._digest = load_digest(self.store)
        return self._digest

    async def _probe(self, url: str) -> RemoteFile:
        return await probe(self.client, url)

    async def _stop(self) -> None:
        self.events.close()
        await self.downloads.stop()
        await self.client.close()
        await self.cache.close()

    def _download_changed(self, download: schemas.Download) -> None:
        if download.status in ("active", "verifying"):
            self._arriving.add(download.id)
        else:
            self._arriving.discard(download.id)
        self.events.publish("download", download.model_dump(mode="json"))

    def _told(self, progress: HashingProgress) -> schemas.Hashing:
        files, size = progress.unhashed or self.hashing.unhashed()
        told = asdict(progress)
        del told["unhashed"]
        return schemas.Hashing(**told, unhashed_files=files, unhashed_bytes=size)

    def _hashing_progressed(self, progress: HashingProgress) -> None:
        data = {"id": "hashing", "hashing": self._told(progress).model_dump(mode="json")}
        with suppress(RuntimeError):  # the engine has stopped: nobody watches any more
            self.engine.loop.call_soon_threadsafe(self.events.publish, "library", data)

    def _remember_arrived(self) -> None:
        """Keep the hashes of files that have just been verified on their way here."""
        with self._arrivals:
            arrived, self._unremembered = self._unremembered, []
        files = [(path, status, sha256) for path, sha256 in arrived if (status := status_of(path))]
        try:
            self.hashes.remember_all(files)
        except sqlite3.Error as error:
            log.warning("The hashes of %d files could not be kept: %s", len(files), error)

    def _file_arrived(self, download: schemas.Download) -> None:
        if download.path and download.sha256 and download.verified:
            with self._arrivals:
                self._unremembered.append((download.path, download.sha256))
                # Whoever writes the first down takes all that have come by then.
                if len(self._unremembered) == 1:
                    self.engine.loop.run_in_executor(None, self._remember_arrived)
        data: dict[str, Any] = {"id": download.id, "folder": download.folder, "name": download.filename}
        self.events.publish("library", data)
