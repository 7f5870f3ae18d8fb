"""What the command line shows: text for people, JSON lines for programs. (Progress: ``progress.py``.)"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from .. import schemas
from ..errors import ResolverError
from .progress import human_size

_MARKS = {"present": "ok", "elsewhere": "elsewhere", "missing": "missing"}
_EVIDENCE = {
    "sha256": "same SHA-256",
    "autov3": "same AutoV3",
    "embedded_url": "URL in the workflow",
    "note_link": "link in the author's notes",
    "catalog": "listed in a catalog",
    "exact_name": "same file name",
    "similar_name": "similar file name",
    "size": "same size",
}
_NEEDS = {
    "licence": "its licence must be accepted at {page}, and CMR_HF_TOKEN set",
    "token": "an access token is needed (CMR_HF_TOKEN or CMR_CIVITAI_API_KEY)",
    "allowed_host": "its host must be added to CMR_ALLOWED_HOSTS",
}


def _files(items: Sequence[schemas.DownloadItem]) -> str:
    return "1 file" if len(items) == 1 else f"{len(items)} files"


def _total(items: Sequence[schemas.DownloadItem]) -> str:
    """How much it is together; catalogs do not know the sizes of their files, and offline nobody is asked."""
    known = [item.size for item in items if item.size is not None]
    if len(known) == len(items):
        return human_size(sum(known))
    unknown = len(items) - len(known)
    return f"at least {human_size(sum(known))}; {unknown} of unknown size" if known else "of unknown size"


class Console:
    """Results go to standard output; questions, progress and errors to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def json(self, value: Any) -> None:
        print(json.dumps(value, ensure_ascii=False), flush=True)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def error(self, error: ResolverError) -> None:
        print(f"Error: {error.message} [{error.code}]", file=sys.stderr, flush=True)

    def unreadable(self, file: str, error: ResolverError) -> None:
        if self.as_json:
            self.json({"file": file, "error": error.as_json()})
        else:
            print(f"{file}: {error.message} [{error.code}]", file=sys.stderr, flush=True)

    def analysis(self, file: str, analysis: schemas.Analysis) -> None:
        summary = analysis.summary
        self.note(
            f"{file}: {summary.total} models, {summary.present} here, {summary.missing} missing, "
            f"{summary.elsewhere} elsewhere"
        )
        for model in analysis.models:
            inactive = "" if model.active else "  (not active)"
            self.note(f"  {_MARKS[model.status]:<9}  {model.id}{inactive}")
            if model.status == "elsewhere":
                place = model.alternatives[0]
                self.note(f"             here as {place.folder}/{place.name}")
        for warning in analysis.warnings:
            where = f" (node {warning.node_id})" if warning.node_id else ""
            self.note(f"  warning    {warning.message}{where}")

    def resolution(self, resolution: schemas.Resolution) -> None:
        self.note(f"  {resolution.id}")
        if not resolution.candidates:
            self.note("    not found")
        for candidate in resolution.candidates[:3]:
            reasons = ", ".join(_EVIDENCE[kind] for kind in candidate.evidence)
            self.note(f"    {candidate.confidence:<8} {human_size(candidate.size):>9}  {candidate.url}")
            self.note(f"             {candidate.source}: {reasons}")
            if candidate.needs:
                page = candidate.page_url or "its page"
                self.note(f"             {_NEEDS.get(candidate.needs, candidate.needs).format(page=page)}")
        for error in resolution.errors:
            self.note(f"    {error.source}: {error.message} [{error.code}]")

    def plan(self, items: Sequence[schemas.DownloadItem], *, dry_run: bool) -> None:
        total = _total(items)
        if dry_run:
            for item in items:
                self.note(f"  would fetch {item.folder}/{item.filename}  {human_size(item.size)}  {item.url}")
            self.note(f"{_files(items)} would be downloaded ({total}).")
        else:
            self.note(f"{_files(items)} can be downloaded ({total}): run again with --download.")

    def confirm(self, items: Sequence[schemas.DownloadItem]) -> bool:
        """Ask the person at the terminal; without one, nothing is downloaded unasked."""
        total = _total(items)
        if not sys.stdin.isatty():
            self.note(f"Not downloading {_files(items)} ({total}) unasked: add --yes.")
            return False
        print(f"Download {_files(items)} ({total})? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def credential(self, state: schemas.Credential) -> None:
        if self.as_json:
            self.json(state.model_dump(mode="json"))
            return
        place = {"stored": "stored", "settings": "from the settings", None: "not set"}[state.origin]
        self.note(f"{state.provider:<12} {place}")

    def credential_check(self, found: schemas.CredentialCheck) -> None:
        if self.as_json:
            self.json(found.model_dump(mode="json"))
            return
        whose = f"{found.account} ({', '.join(found.scopes)})" if found.scopes else found.account
        self.note(f"{found.provider:<12} {whose or 'no account'}")
        if found.code is not None:
            where = f" {found.page_url}" if found.page_url else ""
            self.note(f"             {found.message} [{found.code}]{where}")

    def finished(self, download: schemas.Download) -> None:
        place = f"{download.folder}/{download.filename}"
        if download.status == "completed":
            self.note(f"  done       {place}  {human_size(download.size)}  -> {download.path}")
        else:
            error = download.error
            reason = f"{error.message} [{error.code}]" if error else ""
            self.note(f"  {download.status:<9}  {place}  {reason}")
