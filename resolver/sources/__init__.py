"""Where models can be found. One file a source, one small protocol.

A source is asked for one model at a time and answers with *offers*; it knows nothing of other sources,
of ranking, or of downloads. ``ranking.py`` turns all offers for a model into ordered candidates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from ..names import basename
from ..net.urls import hub_file_path
from ..schemas import Evidence
from ..workflow import EmbeddedModel
from .asking import Budget


@dataclass(frozen=True)
class Wanted:
    """A model to find. ``url``/``sha256``/``size``: what is known of it beforehand.

    ``autov2``: the first 10 hex digits of its SHA-256, lower case, as A1111 and Civitai state them.
    ``autov3``: of a LoRA, the first 12 of the SHA-256 of its tensors, without the header.
    ``blake3``: its BLAKE3 in lower case hex, as ComfyUI's assets are named by.
    """

    id: str
    folder: str | None
    name: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None
    autov2: str | None = None
    autov3: str | None = None
    blake3: str | None = None

    @property
    def digest(self) -> str | None:
        """All that is known of its SHA-256, lower case: the whole, else how it begins."""
        known = self.sha256 or self.autov2
        return known.lower() if known else None


@dataclass(frozen=True)
class Context:
    """What the workflow says beside its models: its metadata entries and the texts of its notes.

    ``families``: those its models belong to (``sdxl``, ``wan2.2``, …; ``resolver.roles``).
    """

    embedded: Sequence[EmbeddedModel] = ()
    notes: Sequence[str] = ()
    families: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Contents:
    """What is in a file by its tensors. Each set holds what it may be, and is empty where nothing tells.

    ``kinds``: ``lora``, ``vae``, ``checkpoint``, … (``resolver.roles``); ``families`` likewise.
    ``precisions``: of a good part of its bytes: ``fp16``, ``fp8_e4m3fn``, …; ``int`` for packed ones.
    """

    kinds: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()
    precisions: frozenset[str] = frozenset()

    @property
    def parts(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        return self.kinds, self.families, self.precisions


@dataclass(frozen=True)
class Offer:
    """One file that a source holds for the wanted one.

    ``filename``: the name the source gives it. ``folder``: the folder the source files it under, if it
    says. ``evidence``: what this source knows for it; names and hashes are compared by the ranking.
    ``mirrors``: other URLs of the same content, by the source's word. ``publisher``: who put it there, as
    the source calls them; ``downloads``: how often it was fetched from there, 0 if unknown.
    ``checked``: that the server which has the file has just said so itself, size and hash included.
    ``base_model``: what it was made for, in the source's words (``SDXL 1.0``). ``safety``: what scanners
    said of it; ``licence``: its short name. ``contents``: what its tensors say, where they were looked at.
    ``blake3``, ``autov3``: lower case hex, by the word of the site that has the file.
    """

    source: str
    url: str
    filename: str
    folder: str | None = None
    sha256: str | None = None
    size: int | None = None
    evidence: frozenset[Evidence] = field(default_factory=frozenset)
    page_url: str | None = None
    gated: bool = False
    needs: str | None = None
    mirrors: tuple[str, ...] = ()
    publisher: str | None = None
    downloads: int = 0
    checked: bool = False
    base_model: str | None = None
    safety: str | None = None
    licence: str | None = None
    contents: Contents | None = None
    blake3: str | None = None
    autov3: str | None = None


CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com", "civitai.red"})
# Their addresses have no file name: what a version is called is said elsewhere.
_CIVITAI_DOWNLOAD = re.compile(r"/api/download/models/(\d+)/?")


class Source(Protocol):
    """Somewhere models can be found."""

    @property
    def name(self) -> str:
        """As it stands in ``Candidate.source``: lower case, stable."""
        ...

    @property
    def online(self) -> bool:
        """Whether it asks servers. Such a source is left alone where nothing may be asked."""
        ...

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        """All it has for ``wanted``; empty if nothing. Runs on the engine's loop, so must not block.

        ``budget``: what it may spend on this model. Whatever it raises costs its own answer only and is
        reported by its name.
        """
        ...


_RAW = re.compile(r"^(/(?:datasets/|spaces/)?[^/]+/[^/]+)/raw/")


def civitai_version(url: str) -> str | None:
    """The id of the version that one of Civitai's download links is for."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    match = _CIVITAI_DOWNLOAD.fullmatch(parts.path) if parts.hostname in CIVITAI_HOSTS else None
    return match[1] if match else None


def normalise_url(url: str) -> str | None:
    """The URL that serves the file itself: ``/blob/`` pages of Hugging Face become ``/resolve/``.

    So does ``/raw/``, which serves the pointer that git keeps in a large file's place. ``www.civitai.com``
    is ``civitai.com``. ``None`` for what cannot be a URL.
    """
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        return None
    place, path, query = parts.netloc, parts.path, parts.query
    if place.lower() == "www.civitai.com":
        place = "civitai.com"
    if parts.hostname in ("huggingface.co", "hf.co"):
        path = hub_file_path(_RAW.sub(r"\1/blob/", path, count=1))
    if query in ("download=true", "download=1"):
        query = ""
    return urlunsplit((parts.scheme, place, path, query, ""))


def url_file_name(url: str) -> str:
    """The last part of the URL's path, percent-decoded; empty if there is none."""
    return basename(unquote(urlsplit(url).path))
