"""The workflow itself: URLs and hashes in ComfyUI's metadata, and links in the author's notes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..host import home_folder
from ..names import same_file_name, to_posix
from ..net.urls import page_url
from ..schemas import Evidence
from ..workflow import EmbeddedModel
from . import Context, Offer, Wanted, civitai_version, normalise_url, url_file_name
from .asking import Budget

# Markdown and prose end a URL by these; a closing parenthesis belongs to it only if it opens one.
# So does the punctuation of Chinese and Japanese texts, which no URL has unescaped.
_URL = re.compile(r"https?://[^\s<>\"'`\]\[\u3000-\u303f\uff00-\uffef]+", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]+")
_DIGITS = {"AUTOV2": 10, "AUTOV3": 12, "BLAKE3": 64}


class WorkflowSource:
    """Metadata entries for this very name, and note links that end in this very file name."""

    name = "workflow"
    online = False

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        del budget
        offers: dict[str, Offer] = {}
        if wanted.url:
            self._add(offers, wanted, wanted.url, wanted.folder, "embedded_url")
        for entry in context.embedded:
            if entry.url and _speaks_of(wanted, entry):
                self._add(offers, wanted, entry.url, entry.directory, "embedded_url")
        for url in links(context.notes):
            if same_file_name(url_file_name(url), wanted.name):
                self._add(offers, wanted, url, None, "note_link")
        return list(offers.values())

    def _add(
        self, offers: dict[str, Offer], wanted: Wanted, address: str, folder: str | None, evidence: Evidence
    ) -> None:
        url = normalise_url(address)
        if url is None or url in offers:
            return
        # The hash the author states is what is wanted, not evidence for what lies at the URL.
        offers[url] = Offer(
            source=self.name,
            url=url,
            # Civitai's addresses hold no file name: there the author's word for it counts.
            filename=wanted.name if civitai_version(url) else url_file_name(url),
            folder=folder,
            evidence=frozenset({evidence}),
            page_url=page_url(url),
        )


def with_stated_hashes(wanted: Wanted, context: Context) -> Wanted:
    """What is wanted, with the hashes of other kinds than SHA-256 that the workflow's metadata states."""
    stated: dict[str, str] = {}
    for entry in context.embedded:
        kind, value = (entry.hash_type or "").upper(), (entry.hash or "").lower()
        if len(value) == _DIGITS.get(kind) and _HEX.fullmatch(value) and _speaks_of(wanted, entry):
            stated.setdefault(kind, value)
    return replace(
        wanted,
        autov2=wanted.autov2 or stated.get("AUTOV2"),
        autov3=wanted.autov3 or stated.get("AUTOV3"),
        blake3=wanted.blake3 or stated.get("BLAKE3"),
    )


def _speaks_of(wanted: Wanted, entry: EmbeddedModel) -> bool:
    """Whether an entry is about the wanted file: equal names in different folders are two files."""
    return to_posix(entry.name) == to_posix(wanted.name) and (
        wanted.folder is None
        or not entry.directory
        or home_folder(entry.directory) == home_folder(wanted.folder)
    )


def links(notes: Sequence[str]) -> Iterator[str]:
    """The URLs in the notes that can be URLs at all."""
    for note in notes:
        for match in _URL.finditer(note):
            url = match.group().rstrip(".,;:!?*_")
            while url.endswith(")") and url.count(")") > url.count("("):
                url = url[:-1].rstrip(".,;:!?*_")
            normal = normalise_url(url)
            if normal is not None:
                yield normal
