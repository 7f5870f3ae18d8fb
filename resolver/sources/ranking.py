"""Offers -> candidates, best first: one pure function, with the evidence in its answer.

- ``exact``: a server or a catalog states the wanted hash, or it is the author's own URL for this very
  file name. The hash that the workflow states itself is no evidence for what lies at its URL.
- ``probable``: the file name is equal and says something, and so is the folder where both are known.
- ``possible``: the rest, and everything whose hash is known to be another than the wanted one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..host import canonical_folder
from ..names import is_generic_name, same_file_name
from ..schemas import Candidate, Confidence, Evidence, ResolutionState
from ..workflow.references import has_model_extension
from . import Offer, Wanted

_ORDER: dict[Confidence, int] = {"exact": 0, "probable": 1, "possible": 2}
# Among equals: who is likelier to know.
_SOURCES = ("workflow", "templates", "manager")
_EVIDENCE: tuple[Evidence, ...] = (
    "sha256",
    "embedded_url",
    "note_link",
    "catalog",
    "exact_name",
    "similar_name",
    "size",
)


def rank(wanted: Wanted, offers: Iterable[Offer]) -> list[Candidate]:
    """All offers as candidates; those of equal content are one candidate with mirrors."""
    groups: dict[str, list[Offer]] = {}
    for offer in _merged_by_url(offers):
        groups.setdefault(offer.sha256 or offer.url, []).append(offer)
    candidates = [_candidate(wanted, group) for group in groups.values()]
    candidates.sort(key=_sort_key)
    return candidates


def state_of(candidates: Sequence[Candidate]) -> ResolutionState:
    """``resolved`` if one content stands out, ``ambiguous`` if several do, or none is more than possible."""
    if not candidates:
        return "not_found"
    best = candidates[0].confidence
    equals = sum(candidate.confidence == best for candidate in candidates)
    return "resolved" if best != "possible" and equals == 1 else "ambiguous"


def _merged_by_url(offers: Iterable[Offer]) -> list[Offer]:
    """One offer a URL: the first source's, with the evidence and the hash of all."""
    merged: dict[str, Offer] = {}
    for offer in sorted(offers, key=_source_order):
        known = merged.get(offer.url)
        if known is None:
            merged[offer.url] = offer
        else:
            merged[offer.url] = replace(
                known,
                evidence=known.evidence | offer.evidence,
                sha256=known.sha256 or offer.sha256,
                size=known.size if known.size is not None else offer.size,
                folder=known.folder or offer.folder,
                needs=known.needs or offer.needs,
                gated=known.gated or offer.gated,
            )
    return list(merged.values())


def _candidate(wanted: Wanted, group: Sequence[Offer]) -> Candidate:
    # One that can be had at once goes before one that needs a licence or a setting first.
    ordered = sorted(group, key=lambda offer: (offer.needs is not None, _source_order(offer)))
    best = ordered[0]
    evidence: set[Evidence] = set().union(*(offer.evidence for offer in group))
    same_name = any(same_file_name(offer.filename, wanted.name) for offer in group)
    if same_name:
        evidence.add("exact_name")
    other_content = False
    if wanted.sha256 and best.sha256:
        other_content = wanted.sha256.lower() != best.sha256.lower()
        if not other_content:
            evidence.add("sha256")
    if wanted.size is not None and best.size is not None:
        other_content = other_content or wanted.size != best.size
        if wanted.size == best.size:
            evidence.add("size")
    return Candidate(
        source=best.source,
        url=best.url,
        page_url=best.page_url,
        filename=best.filename,
        size=best.size,
        sha256=best.sha256,
        confidence="possible" if other_content else _confidence(wanted, group, evidence, same_name),
        evidence=[kind for kind in _EVIDENCE if kind in evidence],
        mirrors=[offer.url for offer in ordered[1:]],
        gated=best.gated,
        needs=best.needs,
    )


def _confidence(
    wanted: Wanted, group: Sequence[Offer], evidence: set[Evidence], same_name: bool
) -> Confidence:
    if "sha256" in evidence:
        return "exact"
    folders = {canonical_folder(offer.folder) for offer in group if offer.folder}
    agrees = wanted.folder is None or not folders or canonical_folder(wanted.folder) in folders
    if not agrees:
        return "possible"
    embedded = [offer for offer in group if "embedded_url" in offer.evidence]
    if any(same_file_name(offer.filename, wanted.name) for offer in embedded):
        return "exact"
    if any(has_model_extension(offer.filename) for offer in embedded):
        return "probable"  # the author's own word, but for a file of another name
    return "probable" if same_name and not is_generic_name(wanted.name) else "possible"


def _source_order(offer: Offer) -> tuple[int, str]:
    known = offer.source in _SOURCES
    return (_SOURCES.index(offer.source) if known else len(_SOURCES), offer.source)


def _sort_key(candidate: Candidate) -> tuple[int, int, bool, int, str]:
    source = _SOURCES.index(candidate.source) if candidate.source in _SOURCES else len(_SOURCES)
    return (
        _ORDER[candidate.confidence],
        -len(candidate.evidence),
        candidate.needs is not None,
        source,
        candidate.url,
    )
