"""Which repositories and files exist on a hub, and what is in them. Plain values; nothing is served.

Contents are made when first asked for, from the repository and the path alone, so that the same URL
gives the same bytes in every process and on every machine. They stay in memory: a demonstration has
a few dozen MiB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from .links import load_workflow, model_links
from .safetensors import make_safetensors, pseudo_random_bytes

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
class HubFile:
    """One large file (LFS, in the hub's words). ``seed`` decides the bytes, ``size`` is in bytes."""

    path: str
    size: int
    seed: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @cached_property
    def content(self) -> bytes:
        """A real safetensors file if the name says so, else random bytes. Takes some 5 ms a MiB."""
        if self.name.endswith(".safetensors"):
            return make_safetensors(self.seed, self.size)
        return pseudo_random_bytes(self.seed, self.size)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def xet_hash(self) -> str:
        """What the storage host calls the content: 64 hex digits too, but *not* the SHA-256.

        The real one is a tree of BLAKE3 hashes (https://huggingface.co/docs/xet/hashing);
        clients only see that it differs, so any other function of the content will do.
        """
        return hashlib.sha256(b"xet:" + bytes.fromhex(self.sha256)).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git holds in its place (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
        version = "https://git-lfs.github.com/spec/v1"
        return f"version {version}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def blob_id(self) -> str:
        """Git's name of the pointer, a SHA-1: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects."""
        return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer).hexdigest()


@dataclass(frozen=True)
class HubRepo:
    """A model repository at one commit; ``revisions`` are the other names that lead to it."""

    id: str
    files: tuple[HubFile, ...]
    gated: Gated | None = None
    revisions: frozenset[str] = frozenset({"main"})

    @property
    def commit(self) -> str:
        """40 hex digits. From names and sizes only, so that listing a repository makes no content."""
        listing = "\n".join([self.id, *(f"{file.path} {file.size}" for file in self.files)])
        return hashlib.sha1(listing.encode()).hexdigest()

    def has_revision(self, revision: str) -> bool:
        return revision in self.revisions or revision == self.commit

    def file(self, path: str) -> HubFile | None:
        return next((file for file in self.files if file.path == path), None)


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
    """All repositories of a hub, by id (``owner/name``)."""

    repos: Mapping[str, HubRepo]

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
