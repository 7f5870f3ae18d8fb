"""The workflow itself: URLs in ComfyUI's metadata, and links in the author's notes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..names import same_file_name, to_posix
from ..net.urls import page_url
from . import Context, Offer, Wanted, normalise_url, url_file_name

# Markdown and prose end a URL by these; a closing parenthesis belongs to it only if it opens one.
_URL = re.compile(r"https?://[^\s<>\"'`\]\[]+", re.IGNORECASE)


class WorkflowSource:
    """Metadata entries for this very name, and note links that end in this very file name."""

    name = "workflow"

    async def find(self, wanted: Wanted, context: Context) -> list[Offer]:
        offers: dict[str, Offer] = {}
        if wanted.url:
            offers[normalise_url(wanted.url)] = self._embedded(
                wanted, wanted.url, wanted.sha256, wanted.folder
            )
        for entry in context.embedded:
            if entry.url and to_posix(entry.name) == to_posix(wanted.name):
                url = normalise_url(entry.url)
                offers.setdefault(url, self._embedded(wanted, url, entry.sha256, entry.directory))
        for url in _links(context.notes):
            if same_file_name(url_file_name(url), wanted.name):
                offers.setdefault(
                    url,
                    Offer(
                        source=self.name,
                        url=url,
                        filename=url_file_name(url),
                        evidence=frozenset({"note_link"}),
                        page_url=page_url(url),
                    ),
                )
        return list(offers.values())

    def _embedded(self, wanted: Wanted, url: str, sha256: str | None, folder: str | None) -> Offer:
        url = normalise_url(url)
        return Offer(
            source=self.name,
            url=url,
            # Addresses of an API have no file name: then the author's word for it counts.
            filename=name if "." in (name := url_file_name(url)) else wanted.name,
            folder=folder,
            sha256=sha256,
            evidence=frozenset({"embedded_url"}),
            page_url=page_url(url),
        )


def _links(notes: object) -> Iterator[str]:
    for note in notes if isinstance(notes, (list, tuple)) else ():
        for match in _URL.finditer(note):
            url = match.group().rstrip(".,;:!?*_")
            while url.endswith(")") and url.count(")") > url.count("("):
                url = url[:-1].rstrip(".,;:!?*_")
            yield normalise_url(url)
