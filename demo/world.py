"""Which repositories and files exist on the hubs. Plain values; nothing is served.

A file's content follows from its repository and path alone, so that the same URL gives the same
bytes in every process and on every machine. It is made when first asked for and stays in memory: a
demonstration has a few dozen MiB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from .civitai.catalog import CivitaiModel
from .files import HubFile
from .links import load_workflow, model_links

Gated = Literal["auto", "manual"]
"""How access to a gated repository is given: at once on request, or by its owners
(https://huggingface.co/docs/hub/models-gated)."""

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})

_FILE_PATH = re.compile(r"/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/(?P<revision>[^/]+)/(?P<path>.+)")

_MIB = 1 << 20
_SIZES = {
    "checkpoints": 12,
    "diffusion_models": 12,
    "text_encoders": 8,
    "upscale_models": 4,
    "vae": 3,
    "loras": 2,
}
"""MiB a file takes by default if its path has this folder; others take ``_OTHER_SIZE``."""
_OTHER_SIZE = 4


@dataclass(frozen=True)
class HubRepo:
    """A model repository at one commit; ``revisions`` are the other names that lead to it.

    ``private``: only its owner's account may know of it. ``disabled``: taken down by the hub, whose
    listings still name it. ``license``: as in the model card, ``apache-2.0``. ``day``: of the commit,
    counted from the first of 2025.
    """

    id: str
    files: tuple[HubFile, ...]
    gated: Gated | None = None
    revisions: frozenset[str] = frozenset({"main"})
    private: bool = False
    disabled: bool = False
    downloads: int = 0
    likes: int = 0
    license: str | None = None
    tags: tuple[str, ...] = ()
    day: int = 365

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @cached_property
    def commit(self) -> str:
        """40 hex digits. From names and sizes only, so that listing a repository makes no content."""
        listing = "\n".join([self.id, *(f"{file.path} {file.size}" for file in self.files)])
        return hashlib.sha1(listing.encode()).hexdigest()

    def has_revision(self, revision: str) -> bool:
        return revision in self.revisions or revision == self.commit

    def file(self, path: str) -> HubFile | None:
        return self._by_path.get(path)

    def entries(self, directory: str, *, recursive: bool) -> dict[str, HubFile | None]:
        """What is in a directory (``""`` is the topmost one), by path in order; None for directories."""
        within = f"{directory}/" if directory else ""
        entries: dict[str, HubFile | None] = {}
        for file in sorted(self.files, key=lambda file: file.path):
            if file.path.startswith(within):
                steps = file.path.removeprefix(within).split("/")
                parents = [within + "/".join(steps[:depth]) for depth in range(1, len(steps))]
                entries |= dict.fromkeys(parents if recursive else parents[:1])
                if recursive or not parents:
                    entries[file.path] = file
        return entries

    @cached_property
    def _by_path(self) -> dict[str, HubFile]:
        return {file.path: file for file in self.files}


@dataclass(frozen=True)
class HubUrl:
    """The parts of a URL that names a file on Hugging Face; ``revision`` and ``path`` are unquoted."""

    repo: str
    revision: str
    path: str

    @classmethod
    def parse(cls, url: str) -> HubUrl | None:
        """The parts, or None if the URL is another host's or names no file."""
        parts = urlsplit(url)
        match = _FILE_PATH.fullmatch(parts.path)
        if parts.hostname not in HUB_HOSTS or match is None:
            return None
        return cls(match["repo"], unquote(match["revision"]), unquote(match["path"]))


@dataclass(frozen=True)
class World:
    """All repositories of Hugging Face by id (``owner/name``), and what the other hubs have.

    ``renamed``: former ids, or former names of a single word, and what they are called now.
    ``modelscope``: that hub's repositories, by id.
    """

    repos: Mapping[str, HubRepo]
    renamed: Mapping[str, str] = field(default_factory=dict)
    civitai: tuple[CivitaiModel, ...] = ()
    modelscope: Mapping[str, HubRepo] = field(default_factory=dict)

    def current_id(self, repo: str) -> str | None:
        """The id of a repository that is known by another: a former one, or one in the wrong case."""
        found = self.renamed.get(repo) or self._by_folded_id.get(repo.lower())
        return found if found in self.repos else None

    @cached_property
    def _by_folded_id(self) -> dict[str, str]:
        return {repo.lower(): repo for repo in self.repos}

    @classmethod
    def for_urls(
        cls,
        urls: Iterable[str],
        *,
        sizes: Mapping[str, int] | int | None = None,
        gated: Mapping[str, Gated] | None = None,
    ) -> World:
        """The repositories that these huggingface.co URLs name. Other hosts' URLs are passed over.

        ``sizes`` in bytes: by file name, or one for all; what it leaves open gets 2–12 MiB by its
        folder. ``gated``: by repository id. A URL's own revision exists beside ``main``, with the
        same files.
        """
        paths: dict[str, dict[str, None]] = {}  # a dict for its order: the first URL's file comes first
        revisions: dict[str, set[str]] = {}
        for found in filter(None, map(HubUrl.parse, urls)):
            paths.setdefault(found.repo, {})[found.path] = None
            revisions.setdefault(found.repo, {"main"}).add(found.revision)
        return cls(
            {
                repo: HubRepo(
                    id=repo,
                    files=tuple(_file(repo, path, sizes) for path in repo_paths),
                    gated=(gated or {}).get(repo),
                    revisions=frozenset(revisions[repo]),
                )
                for repo, repo_paths in paths.items()
            }
        )

    @classmethod
    def for_workflow(
        cls,
        workflow: Mapping[str, Any] | Path | str,
        *,
        sizes: Mapping[str, int] | int | None = None,
        gated: Mapping[str, Gated] | None = None,
    ) -> World:
        """The repositories that a workflow's ``properties.models`` name, in subgraphs too.

        Hashes that the workflow states hold only for workflows written for such a world, as those
        in ``demo/workflows`` are; nobody can make the file to a given hash.
        """
        links = model_links(load_workflow(workflow))
        return cls.for_urls((link.url for link in links), sizes=sizes, gated=gated)

    def with_gated(self, repos: Iterable[str]) -> World:
        """This world, except that these repositories are gated as well."""
        gated = {repo: replace(self.repos[repo], gated="auto") for repo in repos}
        return replace(self, repos={**self.repos, **gated})

    def file_at(self, url: str) -> HubFile | None:
        """The file that a huggingface.co URL names, if this world has it."""
        found = HubUrl.parse(url)
        repo = self.repos.get(found.repo) if found else None
        return repo.file(found.path) if found and repo and repo.has_revision(found.revision) else None


def _file(repo: str, path: str, sizes: Mapping[str, int] | int | None) -> HubFile:
    size = sizes if isinstance(sizes, int) else (sizes or {}).get(path.rsplit("/", 1)[-1])
    seed = f"{repo}/{path}"
    return HubFile(path, _default_size(seed) if size is None else size, seed)


def _default_size(seed: str) -> int:
    """Bytes. The odd remainder tells files of one folder apart by size, as real ones are."""
    folder = next((part for part in seed.split("/") if part in _SIZES), None)
    mib = _OTHER_SIZE if folder is None else _SIZES[folder]
    return mib * _MIB - int.from_bytes(hashlib.sha256(seed.encode()).digest()[:2], "big")
