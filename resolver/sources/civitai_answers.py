"""What Civitai's answers say: which file of a version is meant, what scans and licence say of it. Pure.

Source: https://developer.civitai.com/site/reference/models and
https://developer.civitai.com/site/reference/model-versions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..names import basename, same_file_name
from ..roles import Roles, parse_roles
from ..settings import CIVITAI, CIVITAI_RED
from . import Context, Wanted, civitai_version, normalise_url

Found = tuple[dict[str, Any], dict[str, Any]]
"""A version, and one of its files."""

# The names that ``workflow.remote`` makes of an AIR's ids (model, version, file), and of a version alone.
_AIR_NAME = re.compile(r"civitai-(\d+)(?:-(\d+))?(?:-(\d+))?\.\w+")
_VERSION_NAME = re.compile(r"civitai-version-(\d+)\.\w+")
_FILTERS = frozenset({"fileId", "type", "format", "size", "fp"})
_FORMATS = {"safetensors": "SafeTensor", "ckpt": "PickleTensor", "pt": "PickleTensor", "gguf": "GGUF"}
_SAFETY = {"Danger": "danger", "Error": "unscanned", "Pending": "unscanned", "Success": "scanned"}
_KEPT = frozenset({
    "items", "id", "name", "type", "creator", "username", "modelVersions", "modelId", "baseModel", "air",
    "availability", "usageControl", "files", "model", "stats", "downloadCount", "sizeKB", "hashes", "SHA256",
    "BLAKE3", "AutoV3", "metadata", "format", "size", "fp", "pickleScanResult", "virusScanResult", "primary",
    "downloadUrl", "allowNoCredit", "allowCommercialUse", "allowDerivatives", "allowDifferentLicense",
})  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What a link or an AIR names: a version, or the latest one of a model. ``query``: which of its files.

    ``url``: the link, in the one form it has everywhere; None for an AIR that no link stands for.
    """

    model: str | None
    version: str | None
    query: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None

    @property
    def site(self) -> str:
        """Which of Civitai's two sites it is a place of; an AIR does not say."""
        return CIVITAI_RED if self.url and urlsplit(self.url).hostname == "civitai.red" else CIVITAI


def place_of(wanted: Wanted) -> Place | None:
    """Where the workflow says that the wanted file is at Civitai, if it does."""
    url = normalise_url(wanted.url) if wanted.url else None
    version = civitai_version(url) if url else None
    if url is not None and version is not None:
        query = {name: value for name, value in parse_qsl(urlsplit(url).query) if name in _FILTERS}
        return Place(None, version, query, url)
    return None if url else _place_named(wanted.name)


def listed_versions(context: Context) -> list[str]:
    """The versions that a workflow lists without saying which of its files they are (Civitai's generator)."""
    places = [_place_named(entry.name) for entry in context.embedded if not entry.hash]
    return list(dict.fromkeys(place.version for place in places if place and place.version))


def _place_named(name: str) -> Place | None:
    """The place that a name was made of."""
    if version := _VERSION_NAME.fullmatch(basename(name)):
        return Place(None, version[1])
    air = _AIR_NAME.fullmatch(basename(name))
    return Place(air[1], air[2], {"fileId": air[3]} if air[3] else {}) if air else None


def files_at(place: Place, version: Any) -> list[Found]:
    """The file that Civitai serves for the place: the first that its query fits, the primary one before.

    None of a version that is another model's: an AIR names both.
    """
    if place.model is not None and place.model != str(_dict(version).get("modelId", place.model)):
        return []
    stated = {name: value for name, value in place.query.items() if name != "fileId"}

    def meant(file: dict[str, Any]) -> bool:
        if "fileId" in place.query:
            return str(file.get("id")) == place.query["fileId"]
        said = {**_metadata(file), "type": file.get("type")}
        return stated.items() <= said.items() if stated else bool(file.get("primary"))

    return files_of([version], meant)[:1]


def files_named(wanted: Wanted, versions: Iterable[Any]) -> list[Found]:
    """The files of equal name; of several in one version those that are stored as the name says.

    Civitai names a file after title and version, so that a version's fp16 and fp32 may have one name.
    """
    roles = parse_roles(wanted.name, wanted.folder)
    found: list[Found] = []
    for version in versions:
        named = files_of([version], lambda file: same_file_name(str(file.get("name")), wanted.name))
        found += [one for one in named if _is_stored_as(roles, one[1])] or named
    return found


def files_of(versions: Iterable[Any], wanted: Callable[[dict[str, Any]], bool]) -> list[Found]:
    """The usable files for which ``wanted`` holds, each with its version, those of its first choice first."""
    found = []
    for version in versions:
        if isinstance(version, dict) and may_be_had(version):
            files = [file for file in dicts(version.get("files")) if _is_usable(file) and wanted(file)]
            found += [(version, file) for file in sorted(files, key=lambda file: not file.get("primary"))]
    return found


def may_be_had(version: Any) -> bool:
    """Some creators let their models be run at Civitai, but not downloaded."""
    return not isinstance(version, dict) or version.get("usageControl", "Download") == "Download"


def file_url(version: Mapping[str, Any], file: Mapping[str, Any]) -> str:
    """What serves this very file: files of equal type and metadata share a ``downloadUrl``."""
    url = str(file["downloadUrl"])
    shared = Counter(other.get("downloadUrl") for other in dicts(version.get("files")))[url] > 1
    if not shared or file.get("id") is None:
        return url
    return f"{url.partition('?')[0]}?fileId={file['id']}"


def site_url(url: str, endpoint: str) -> str:
    """The site's own URL, whichever endpoint it was learned from, so that equal places look equal."""
    return CIVITAI + url.removeprefix(endpoint) if url.startswith(f"{endpoint}/") else url


def sha256_of(file: Mapping[str, Any]) -> str | None:
    return _hash(file, "SHA256")


def blake3_of(file: Mapping[str, Any]) -> str | None:
    return _hash(file, "BLAKE3")


def autov3_of(file: Mapping[str, Any]) -> str | None:
    """12 digits, of which older answers have more."""
    value = _dict(file.get("hashes")).get("AutoV3")
    return value[:12].lower() if isinstance(value, str) and len(value) >= 12 else None


def safety_of(file: Mapping[str, Any]) -> str:
    """``danger`` if either scan says so, ``scanned`` if both passed, else ``unscanned``."""
    results = {_SAFETY.get(str(file.get(scan))) for scan in ("pickleScanResult", "virusScanResult")}
    return "danger" if "danger" in results else "scanned" if results == {"scanned"} else "unscanned"


def licence_of(model: Mapping[str, Any]) -> str | None:
    """What the creator asks for and forbids: ``credit, commercial use: Image, no derivatives``.

    ``no conditions`` if nothing. None where the answer does not say.
    """
    if "allowCommercialUse" not in model:
        return None
    # Older answers have one word, or a set as PostgreSQL writes it: {Image,Rent}.
    given = model["allowCommercialUse"]
    uses = given.strip("{}").split(",") if isinstance(given, str) else given
    allowed = [use for use in uses if isinstance(use, str) and use not in ("", "None")] if uses else []
    terms = [] if model.get("allowNoCredit", True) else ["credit"]
    if "Sell" not in allowed:
        terms.append(f"commercial use: {'/'.join(sorted(allowed))}" if allowed else "no commercial use")
    terms += [] if model.get("allowDerivatives", True) else ["no derivatives"]
    terms += [] if model.get("allowDifferentLicense", True) else ["same licence"]
    return ", ".join(terms) or "no conditions"


def dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def slim(value: Any) -> Any:
    """What is read of an answer: the rest (descriptions, pictures) is nine tenths of it."""
    if isinstance(value, list):
        return [slim(entry) for entry in value]
    if isinstance(value, dict):
        return {name: slim(entry) for name, entry in value.items() if name in _KEPT}
    return value


def _is_stored_as(roles: Roles, file: Mapping[str, Any]) -> bool:
    """Whether format, precision and pruning of a file are none other than its name says."""
    said = _metadata(file)
    precisions, pruning = roles.values("precision"), roles.values("pruning")
    formats = {_FORMATS.get(container) for container in roles.values("container")}
    return (
        _may_be(said.get("fp"), [value.partition("_")[0] for value in precisions])
        and _may_be(said.get("size"), ["pruned"] if "pruned" in pruning else [])
        and _may_be(said.get("format"), [form for form in formats if form])
    )


def _may_be(said: Any, stated: Sequence[str]) -> bool:
    return not stated or said is None or said in stated


def _is_usable(file: dict[str, Any]) -> bool:
    return isinstance(file.get("name"), str) and isinstance(file.get("downloadUrl"), str)


def _metadata(file: Mapping[str, Any]) -> dict[str, Any]:
    return _dict(file.get("metadata"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _hash(file: Mapping[str, Any], kind: str) -> str | None:
    value = _dict(file.get("hashes")).get(kind)
    return value.lower() if isinstance(value, str) and len(value) == 64 else None
