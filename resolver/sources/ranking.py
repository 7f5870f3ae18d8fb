"""Offers -> candidates, best first: one pure function, with the evidence in its answer.

Offers of one content (equal SHA-256) are one candidate with mirrors.

- ``exact``: a server or a catalog states the wanted hash (a BLAKE3 counts by the word of the site that has
  the file), or it is the author's own URL for this very file name. The hash that the workflow states itself
  is no evidence for what lies at its URL.
- ``probable``: the file name is equal and says something, and folder and family agree where they are known.
- ``possible``: the rest, what scanners warn of, everything whose hash is known to be another one, and what
  its own tensors show to be something else.

Among equals: what somebody chose (a catalog, the author's note) goes before what a search found, the files
of known publishers before others', content that many publish before what one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

from ..host import home_folder
from ..names import same_file_name
from ..roles import similarity, tells_nothing
from ..schemas import Candidate, Confidence, Evidence, ResolutionState
from ..workflow.references import has_model_extension
from . import Context, Offer, Wanted
from .agreement import contents_agree, made_for_agrees
from .base_models import family_of
from .publishers import PUBLISHERS, publisher_rank
from .tensors import TOLD_FAMILIES

_ORDER: dict[Confidence, int] = {"exact": 0, "probable": 1, "possible": 2}
# Among equals: who is likelier to know.
_SOURCES = ("workflow", "templates", "manager", "examples", "history", "huggingface", "civitai")
# These offer what lies at their own site.
_SITES = frozenset({"huggingface", "civitai"})
_EVIDENCE: tuple[Evidence, ...] = (
    "sha256",
    "autov3",
    "embedded_url",
    "note_link",
    "catalog",
    "exact_name",
    "similar_name",
    "size",
)
CHOSEN = frozenset({"embedded_url", "note_link", "catalog"})


@dataclass(frozen=True)
class Ranked:
    """``state``: ``resolved`` if one content stands out, ``ambiguous`` if none does."""

    candidates: list[Candidate]
    state: ResolutionState


def rank(wanted: Wanted, offers: Iterable[Offer], context: Context | None = None) -> Ranked:
    """All offers as candidates; those that are another model by all that is known are left out."""
    groups = [_Group(wanted, group, context or Context()) for group in _by_content(offers)]
    _doubt(groups)
    groups = sorted((group for group in groups if group.may_serve), key=lambda group: group.key)
    return Ranked([group.candidate() for group in groups], _state(groups))


def _state(groups: Sequence[_Group]) -> ResolutionState:
    if not groups:
        return "not_found"
    best = groups[0]
    if best.confidence == "possible":
        return "ambiguous"
    rivals = [group for group in groups[1:] if group.confidence == best.confidence]
    return "resolved" if all(best.stands_out_from(rival) for rival in rivals) else "ambiguous"


def _doubt(groups: Sequence[_Group]) -> None:
    """The author's word is not ``exact`` against what is known of the other contents.

    Not if the proven content has another size; nor if the author names two places that have two contents.
    """
    proven = {group.size for group in groups if group.confidence == "exact" and group.is_proven} - {None}
    stated = [group for group in groups if group.confidence == "exact" and not group.is_proven]
    for group in stated:
        if proven and group.size is not None and group.size not in proven:
            group.confidence = "possible"
    stated = [group for group in stated if group.confidence == "exact"]
    if any(group.differs_from(other) for group, other in combinations(stated, 2)):
        for group in stated:
            group.confidence = "probable"


def _by_content(offers: Iterable[Offer]) -> list[list[Offer]]:
    """Offers of one URL or one hash together; a URL whose hash one source knows has it for all.

    Where sources state several hashes for one URL, the server's own word counts, then that of the site it is
    of, else the likelier source's.
    """
    offers = sorted(offers, key=lambda offer: (not offer.checked, offer.source not in _SITES, _order(offer)))
    hashes: dict[str, str] = {}
    for offer in offers:
        if offer.sha256:
            hashes.setdefault(offer.url, offer.sha256.lower())
    groups: dict[str, list[Offer]] = {}
    for offer in offers:
        sha256 = hashes.get(offer.url)
        groups.setdefault(sha256 or offer.url, []).append(replace(offer, sha256=sha256))
    return list(groups.values())


class _Weight(NamedTuple):
    """Why one content goes before another of the same confidence; smaller goes first."""

    not_chosen: bool
    other_folder: bool
    publisher: int
    unconfirmed: int
    fewer_publishers: int
    unlike: float


class _Group:
    """All offers of one content, judged."""

    def __init__(self, wanted: Wanted, offers: Sequence[Offer], context: Context) -> None:
        self._wanted = wanted
        # One that can be had at once goes before one that needs a licence or a setting first.
        self._offers = sorted(offers, key=lambda offer: (offer.needs is not None, _order(offer)))
        self.sha256 = next((offer.sha256 for offer in self._offers if offer.sha256), None)
        self.size = next((offer.size for offer in self._offers if offer.size is not None), None)
        self._same_name = any(same_file_name(offer.filename, wanted.name) for offer in offers)
        # Of one content under several names the one most like the wanted counts.
        self._likeness = max(_likeness(wanted, offer) for offer in offers)
        blake3 = next((offer.blake3 for offer in offers if offer.blake3), None)
        self._has_blake3 = wanted.blake3 is not None and wanted.blake3 == blake3
        autov3 = next((offer.autov3 for offer in offers if offer.autov3), None)
        self._has_autov3 = wanted.autov3 is not None and wanted.autov3 == autov3
        self._is_other_hash = bool(
            _differs(wanted, self.sha256)
            or (wanted.blake3 is not None and blake3 is not None and not self._has_blake3)
            or (wanted.sha256 is None and wanted.autov3 and autov3 and not self._has_autov3)
        )
        self._is_other = self._is_other_hash or (
            wanted.size is not None and self.size is not None and wanted.size != self.size
        )
        # As far as it is known: the whole, or how it begins.
        self._is_wanted_sha256 = bool(self.sha256 and wanted.digest) and not _differs(wanted, self.sha256)
        self.evidence = self._gathered()
        self._folders = {home_folder(offer.folder) for offer in offers if offer.folder}
        contents = next((offer.contents for offer in self._offers if offer.contents), None)
        confirmed = contents_agree(wanted, contents, context, TOLD_FAMILIES) if contents else 0
        made_for = {family for offer in offers if (family := family_of(offer.base_model))}
        self._agrees = self._folder_agrees() and made_for_agrees(wanted, made_for, context) and confirmed >= 0
        self.confidence = self._confidence()
        publishers = {offer.publisher.lower() for offer in offers if offer.publisher}
        self.weight = _Weight(
            not_chosen=self.evidence.isdisjoint(CHOSEN),
            other_folder=wanted.folder is not None and home_folder(wanted.folder) not in self._folders,
            publisher=min((publisher_rank(name) for name in publishers), default=len(PUBLISHERS)),
            unconfirmed=-confirmed,
            fewer_publishers=-len(publishers),
            unlike=-self._likeness,
        )

    @property
    def may_serve(self) -> bool:
        """Whether anything speaks for it: a hash, somebody's word, or its name."""
        return bool(self.evidence - {"size"})

    @property
    def is_proven(self) -> bool:
        """Whether its content is the wanted one, not only its place."""
        return "sha256" in self.evidence

    def differs_from(self, other: _Group) -> bool:
        """Whether both are known and not the same."""
        return (None not in (self.sha256, other.sha256) and self.sha256 != other.sha256) or (
            None not in (self.size, other.size) and self.size != other.size
        )

    @property
    def key(self) -> tuple[object, ...]:
        first = self._offers[0]
        return (
            _ORDER[self.confidence],
            "sha256" not in self.evidence,
            "autov3" not in self.evidence,
            "embedded_url" not in self.evidence,
            self._is_other,
            self.weight,
            -len(self.evidence),
            first.needs is not None,
            -max(offer.downloads for offer in self._offers),
            _source_order(first),
            first.url,
        )

    def stands_out_from(self, rival: _Group) -> bool:
        """Whether there is a reason, not only an order, to take this rather than the rival."""
        for proof in ("sha256", "autov3", "embedded_url"):
            if proof in self.evidence and proof not in rival.evidence:
                return True
        mine, others = self.weight, rival.weight
        if mine.not_chosen != others.not_chosen:
            return others.not_chosen
        if (mine.publisher < len(PUBLISHERS)) != (others.publisher < len(PUBLISHERS)):
            return mine.publisher < others.publisher
        return False

    def candidate(self) -> Candidate:
        best = self._offers[0]
        others = [offer.url for offer in self._offers[1:]]
        mirrors = [*others, *(url for offer in self._offers for url in offer.mirrors)]
        return Candidate(
            source=best.source,
            url=best.url,
            page_url=best.page_url,
            filename=best.filename,
            size=self.size,
            sha256=self.sha256,
            confidence=self.confidence,
            evidence=[kind for kind in _EVIDENCE if kind in self.evidence],
            mirrors=[url for url in dict.fromkeys(mirrors) if url != best.url],
            gated=best.gated,
            needs=self._needs(best),
            safety=next((offer.safety for offer in self._offers if offer.safety), None),
            licence=next((offer.licence for offer in self._offers if offer.licence), None),
            publisher=next((offer.publisher for offer in self._offers if offer.publisher), None),
        )

    def _needs(self, best: Offer) -> str | None:
        """Civitai asks strangers for a login also where an account alone is not enough; its API says more."""
        known = {offer.needs for offer in self._offers if offer.url == best.url}
        return "early_access" if "early_access" in known else best.needs

    def _gathered(self) -> set[Evidence]:
        evidence: set[Evidence] = set().union(*(offer.evidence for offer in self._offers))
        if self._same_name:
            evidence.add("exact_name")
        elif self._likeness > 0:
            evidence.add("similar_name")
        # A BLAKE3 proves the content only where it is known which SHA-256 that has, to tell what comes.
        has_content = self._is_wanted_sha256 or (self._has_blake3 and self.sha256 is not None)
        if has_content and not self._is_other_hash:
            evidence.add("sha256")
        elif self._has_autov3 and not self._is_other_hash:
            evidence.add("autov3")
        if self._wanted.size is not None and self._wanted.size == self.size:
            evidence.add("size")
        return evidence

    def _folder_agrees(self) -> bool:
        folder = self._wanted.folder
        return folder is None or not self._folders or home_folder(folder) in self._folders

    def _confidence(self) -> Confidence:
        if self._is_other or any(offer.safety == "danger" for offer in self._offers):
            return "possible"
        if "sha256" in self.evidence:
            # Ten digits settle it among files that happen to exist, but not against one made to have them.
            whole = self._wanted.sha256 is not None and self._is_wanted_sha256
            return "exact" if whole or self._has_blake3 else "probable"
        if "autov3" in self.evidence:
            return "probable"  # nor do twelve digits, of the tensors alone
        if not self._agrees:
            return "possible"
        embedded = [offer for offer in self._offers if "embedded_url" in offer.evidence]
        if any(same_file_name(offer.filename, self._wanted.name) for offer in embedded):
            return "exact"
        if any(has_model_extension(offer.filename) for offer in embedded):
            return "probable"  # the author's own word, but for a file of another name
        return "probable" if self._same_name and not tells_nothing(self._wanted.name) else "possible"


def _likeness(wanted: Wanted, offer: Offer) -> float:
    """0..1: 1 for the very name, 0 for another model."""
    if same_file_name(offer.filename, wanted.name):
        return 1.0
    return similarity(wanted.name, offer.filename)


def _differs(wanted: Wanted, found: str | None) -> bool:
    return wanted.digest is not None and found is not None and not found.lower().startswith(wanted.digest)


def _source_order(offer: Offer) -> tuple[int, str]:
    known = offer.source in _SOURCES
    return (_SOURCES.index(offer.source) if known else len(_SOURCES), offer.source)


def _order(offer: Offer) -> tuple[object, ...]:
    """A total order, so that nothing depends on who answered first."""
    return (
        *_source_order(offer),
        offer.url,
        offer.filename,
        offer.needs or "",
        offer.sha256 or "",
        -1 if offer.size is None else offer.size,
        *(offer.publisher or "", offer.safety or "", offer.licence or "", offer.page_url or ""),
        offer.gated,
        offer.mirrors,
        offer.blake3 or "",
        offer.autov3 or "",
        [sorted(part) for part in offer.contents.parts] if offer.contents else [],
    )
