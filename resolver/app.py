"""Puts the parts together once; everybody else is handed what they need."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Collection, Sequence
from functools import cache
from typing import Any

from . import analysis, schemas
from .digest import Digest, load_digest
from .download.queue import DownloadQueue
from .engine import Engine
from .events import EventHub
from .folders import FolderKnowledge
from .folders.observed import observe, options
from .folders.stated import read_stated
from .host import FolderSpec, Host
from .library import Library, LibraryFile
from .net.client import HttpClient
from .net.probe import RemoteFile, probe
from .resolution import ResolutionService
from .settings import LoadedSettings
from .sources import Context, Source, Wanted
from .sources.catalog import CatalogSource, manager_entries
from .sources.workflow import WorkflowSource
from .store import Store
from .workflow import Workflow

log = logging.getLogger(__name__)


class Resolver:
    """The program. ``start`` it before use and ``close`` it at the end.

    Plain methods block (on the disk, or for milliseconds of work) and belong in a thread; ``async``
    ones run on ``engine``'s loop: await them there through ``engine.run``.
    """

    def __init__(self, settings: LoadedSettings, host: Host) -> None:
        self.settings = settings.values
        self.setting_origins = settings.origins
        self.host = host
        # First what can refuse its settings, then what holds files and threads.
        self.client = HttpClient(self.settings)
        self.events = EventHub(host)
        self.library = Library(host)
        self.store = Store(host.data_directory / "store.sqlite3")
        self.engine = Engine()
        self.downloads = DownloadQueue(
            self.store,
            host,
            self.client,
            self.settings,
            on_event=self._download_changed,
            on_completed=self._file_arrived,
        )
        self.resolutions = ResolutionService(self._sources(), self._probe, self.client.policy.check)
        self._lock = threading.Lock()
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
        try:
            self.engine.submit(self._stop()).result(timeout=30)
        finally:
            self.engine.stop()
            self.store.close()

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
        models = [
            Wanted(model.id, model.folder, model.name, sha256=model.sha256)
            for model in found.models
            if model.status == "missing" and model.active
        ]
        return models, Context(embedded=workflow.embedded(), notes=workflow.notes)

    def resolve(
        self,
        wanted: Sequence[Wanted],
        context: Context,
        *,
        only: Collection[str] | None = None,
        online: bool = True,
    ) -> AsyncIterator[schemas.Resolution]:
        """One resolution a model as they are found; iterate on the engine's loop."""
        return self.resolutions.resolve(wanted, context, only=only, online=online)

    def folders(self) -> list[FolderSpec]:
        return sorted(self.host.folders().values(), key=lambda spec: spec.name)

    def files(self, folder: str | None, query: str) -> list[LibraryFile]:
        """The library's files by name, those whose name holds all words of ``query``."""
        words = query.lower().split()
        found = [
            file
            for file in self.library.snapshot().files(folder)
            if all(word in file.name.lower() for word in words)
        ]
        return sorted(found, key=lambda file: (file.folder, file.name.lower()))

    def _sources(self) -> list[Source]:
        return [
            WorkflowSource(),
            CatalogSource("templates", lambda: self._locked_templates().entries),
            CatalogSource("manager", lambda: manager_entries(self.host)),
        ]

    def _locked_templates(self) -> Digest:
        with self._lock:
            return self._templates()

    def _templates(self) -> Digest:
        if self._digest is None:
            self._digest = load_digest(self.host.data_directory)
        return self._digest

    async def _probe(self, url: str) -> RemoteFile:
        return await probe(self.client, url)

    async def _stop(self) -> None:
        self.events.close()
        await self.downloads.stop()
        await self.client.close()

    def _download_changed(self, download: schemas.Download) -> None:
        self.events.publish("download", download.model_dump(mode="json"))

    def _file_arrived(self, download: schemas.Download) -> None:
        data: dict[str, Any] = {"id": download.id, "folder": download.folder, "name": download.filename}
        self.events.publish("library", data)
