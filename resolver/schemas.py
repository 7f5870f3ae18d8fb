"""The contract's objects, as pydantic models: what the routes, the command line and the tests exchange.

Sizes are bytes, speeds bytes per second, times seconds; ``created_at`` is a Unix timestamp in seconds.
``GET openapi.json`` is generated from these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Status = Literal["present", "elsewhere", "missing"]
Confidence = Literal["exact", "probable", "possible"]
Evidence = Literal["sha256", "embedded_url", "note_link", "catalog", "exact_name", "similar_name", "size"]
DownloadStatus = Literal["queued", "active", "paused", "verifying", "completed", "failed", "cancelled"]
ResolutionState = Literal["resolved", "ambiguous", "not_found"]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
FolderName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Schema(BaseModel):
    """Common rules: unknown fields in requests are errors, so that a typo is told, not swallowed."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Schema):
    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class ErrorAnswer(Schema):
    error: ErrorBody


# --- analysis -----------------------------------------------------------------------------------


class Reference(Schema):
    """One place that names a model. ``node_id`` is the execution id, e.g. ``433:37`` inside a subgraph."""

    node_id: str
    node_type: str
    input: str
    value: str
    active: bool


class Alternative(Schema):
    """A file of the library that might serve.

    ``score`` 0..1; ``same_content`` null while unhashed. ``difference``: in what it differs although it
    is the same model (``precision: fp16 / fp8_e4m3fn``), null for the very file in another place.
    """

    path: str
    folder: str
    name: str
    same_content: bool | None
    score: float
    difference: str | None = None


class Model(Schema):
    """A file the workflow wants. ``url``/``sha256``/``size`` are what the workflow itself states."""

    id: str
    folder: str | None
    name: str
    status: Status
    active: bool
    path: str | None = None
    size: int | None = None
    sha256: str | None = None
    url: str | None = None
    references: list[Reference] = Field(default_factory=list)
    alternatives: list[Alternative] = Field(default_factory=list)


class Summary(Schema):
    """Counts of models. ``present + missing + elsewhere == total``; ``unknown`` have no known folder."""

    total: int = 0
    present: int = 0
    missing: int = 0
    elsewhere: int = 0
    unknown: int = 0


class Notice(Schema):
    """Something in the input we passed over. ``code`` is stable; ``node_id`` where one is to blame."""

    code: str
    message: str
    node_id: str | None = None


class Analysis(Schema):
    format: Literal["ui", "api"]
    models: list[Model]
    summary: Summary
    warnings: list[Notice] = Field(default_factory=list)


class AnalyzeRequest(Schema):
    workflow: dict[str, Any]


# --- resolution ---------------------------------------------------------------------------------


class Candidate(Schema):
    """One file that a source offers. ``needs``: what the user must do first, e.g. ``licence``, ``token``."""

    source: str
    url: str
    page_url: str | None = None
    filename: str
    size: int | None = None
    sha256: str | None = None
    confidence: Confidence
    evidence: list[Evidence]
    mirrors: list[str] = Field(default_factory=list)
    gated: bool = False
    needs: str | None = None
    safety: str | None = None


class SourceError(Schema):
    source: str
    code: str
    message: str


class Resolution(Schema):
    """What was found for one model; candidates are ordered, best first."""

    id: str
    state: ResolutionState
    candidates: list[Candidate] = Field(default_factory=list)
    errors: list[SourceError] = Field(default_factory=list)


class WantedModel(Schema):
    """A model stated by the caller of ``resolve`` instead of by a workflow."""

    folder: FolderName
    name: ShortText
    url: ShortText | None = None
    sha256: Sha256 | None = None
    size: Annotated[int, Field(ge=0)] | None = None


class ResolveRequest(Schema):
    workflow: dict[str, Any] | None = None
    models: list[WantedModel] | None = None
    sources: list[str] | None = None
    online: bool = True


# --- downloads ----------------------------------------------------------------------------------


class DownloadItem(Schema):
    """One file to fetch. ``priority``: higher goes first, ties in order of arrival."""

    folder: FolderName
    filename: ShortText
    url: ShortText
    mirrors: list[ShortText] = Field(default_factory=list, max_length=16)
    sha256: Sha256 | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0


class DownloadsRequest(Schema):
    items: Annotated[list[DownloadItem], Field(min_length=1, max_length=1000)]


class PriorityRequest(Schema):
    priority: Annotated[int, Field(ge=-1000, le=1000)]


class DownloadErrorBody(Schema):
    code: str
    message: str


class Download(Schema):
    """One file on its way. ``verified``: SHA-256 or, without one, size and structure were checked."""

    id: str
    folder: str
    filename: str
    url: str
    status: DownloadStatus
    size: int | None = None
    received: int = 0
    speed: float = 0.0
    eta: float | None = None
    sha256: str | None = None
    verified: bool = False
    error: DownloadErrorBody | None = None
    path: str | None = None
    created_at: float


class DownloadsAnswer(Schema):
    downloads: list[Download]


# --- folders, library, health, settings ---------------------------------------------------------


class Root(Schema):
    path: str
    writable: bool
    free_bytes: int | None = None
    default: bool = False


class Folder(Schema):
    name: str
    roots: list[Root]
    extensions: list[str]
    default_root: str | None = None


class FoldersAnswer(Schema):
    folders: list[Folder]


class LibraryFile(Schema):
    folder: str
    name: str
    path: str
    size: int
    modified: float
    sha256: str | None = None


class LibraryAnswer(Schema):
    files: list[LibraryFile]
    total: int


class HealthMetrics(Schema):
    cpu_percent: float | None
    memory_percent: float | None
    active_downloads: int
    queued_downloads: int
    free_bytes: int | None


class Health(Schema):
    status: Literal["ok"]
    timestamp: float
    version: str
    host: str
    metrics: HealthMetrics


class SettingValue(Schema):
    """``value`` is null for a secret; ``set`` then says whether there is one."""

    name: str
    value: Any
    set: bool
    source: str
    description: str


class SettingsAnswer(Schema):
    settings: list[SettingValue]
