"""The contract's objects, as pydantic models: what the routes, the command line and the tests exchange.

Sizes are bytes, speeds bytes per second, times seconds; ``created_at`` is a Unix timestamp in seconds.
``GET openapi.json`` is generated from these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

Status = Literal["present", "elsewhere", "missing"]
Confidence = Literal["exact", "probable", "possible"]
Evidence = Literal[
    "sha256", "autov3", "embedded_url", "note_link", "catalog", "exact_name", "similar_name", "size"
]
DownloadStatus = Literal["queued", "active", "paused", "verifying", "completed", "failed", "cancelled"]
HashAction = Literal["start", "pause", "resume", "cancel"]
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
    """One file that a source offers. ``needs``: what the user must do first, e.g. ``licence``, ``token``.

    ``publisher``: who put it there, as the source calls them; ``licence``: the short name of its terms.
    """

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
    publisher: str | None = None
    licence: str | None = None


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


class EmbedRequest(Schema):
    """``online``: whether servers may be asked for the hash and size of what the catalogs name."""

    workflow: dict[str, Any]
    online: bool = True


class WorkflowAnswer(RootModel[dict[str, Any]]):
    """A workflow as the editor saves it."""


class ExportRequest(Schema):
    """``format``: ``bash``, ``powershell``, ``python``, ``aria2``, ``json`` or ``lock``. ``present``: also
    the models of the workflow that are here, as a lock has them anyway. ``online``: as in ``resolve``.
    """

    workflow: dict[str, Any] | None = None
    models: Annotated[list[WantedModel], Field(max_length=1000)] | None = None
    format: str
    present: bool = False
    online: bool = True


class LeftOut(Schema):
    """A model that is needed and not in what was exported, with the reason."""

    id: str
    code: str
    message: str


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


class PromptRequest(BaseModel):
    """What ComfyUI's ``POST /prompt`` takes: ``prompt`` in API format, and whatever else it knows."""

    model_config = ConfigDict(extra="allow")

    prompt: dict[str, Any]
    client_id: str | None = None
    extra_data: dict[str, Any] | None = None


class PromptAnswer(RootModel[dict[str, Any]]):
    """ComfyUI's own answer: ``{"prompt_id", "number", "node_errors"}``."""


class LackingModel(Schema):
    """A model that a prompt lacks, and why; ``url``: where to do something about it."""

    id: str
    code: str
    message: str
    url: str | None = None


class PriorityRequest(Schema):
    priority: Annotated[int, Field(ge=-1000, le=1000)]


class DownloadErrorBody(Schema):
    code: str
    message: str


class Download(Schema):
    """One file on its way. ``verified``: SHA-256 or, without one, size and structure were checked.

    ``connections``: how many are open for it now.
    """

    id: str
    folder: str
    filename: str
    url: str
    status: DownloadStatus
    size: int | None = None
    received: int = 0
    speed: float = 0.0
    eta: float | None = None
    connections: int = 0
    sha256: str | None = None
    verified: bool = False
    error: DownloadErrorBody | None = None
    path: str | None = None
    created_at: float


class DownloadsAnswer(Schema):
    downloads: list[Download]


class Part(Schema):
    """What has arrived of a download that nobody goes on with. ``filename``: the model's, where it is known.

    ``size`` in bytes; ``modified``: Unix time of the last write.
    """

    id: str
    folder: str
    filename: str | None
    path: str
    size: int
    modified: float


class PartsAnswer(Schema):
    parts: list[Part]


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


class HashRequest(Schema):
    """``folder``: only that one, all if null; it counts for ``start``. ``resume`` goes on after ``pause``."""

    action: HashAction = "start"
    folder: FolderName | None = None


class Hashing(Schema):
    """The run of hashing under way, or the last one.

    ``state``: ``waiting`` while downloads or ComfyUI are at work, ``idle`` when nothing runs. ``done`` of
    ``total`` files, ``bytes_done`` of ``bytes_total``; ``failed`` files could not be read, or were being
    written to. ``folder``: the only one of this run, null for all. ``unhashed_files`` of ``unhashed_bytes``
    have no known hash yet, in all folders: what a run over all of them would read. That is told by the
    listing; no file is looked at for it.
    """

    state: Literal["idle", "running", "waiting", "paused"]
    folder: str | None
    done: int
    total: int
    bytes_done: int
    bytes_total: int
    failed: int
    unhashed_files: int
    unhashed_bytes: int


class DuplicateGroup(Schema):
    """One content that takes space on disk ``copies`` times; hard and symbolic links take none.

    ``size``: bytes of one copy; ``wasted``: bytes beyond the first. ``files``: every name of it.
    """

    sha256: str
    size: int
    copies: int
    wasted: int
    files: list[LibraryFile]


class DuplicatesAnswer(Schema):
    """What wastes most comes first. ``unhashed``: files of equal size whose content is not known yet."""

    groups: list[DuplicateGroup]
    wasted: int
    unhashed: int


class HealthMetrics(Schema):
    cpu_percent: float | None
    memory_percent: float | None
    active_downloads: int
    queued_downloads: int
    free_bytes: int | None


class Health(Schema):
    """``uptime``: seconds since the program started."""

    status: Literal["ok"]
    timestamp: float
    uptime: float
    version: str
    host: str
    metrics: HealthMetrics


class Finding(Schema):
    """One thing that ``doctor`` looked at. ``area``: which kind (``roots``, ``space``, …); ``advice``: what
    to do, null where nothing is wrong."""

    area: str
    level: Literal["ok", "warning", "problem"]
    message: str
    advice: str | None = None


class CredentialRequest(Schema):
    token: Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class Credential(Schema):
    """Whether a token is set for a provider, and where it comes from; never the token."""

    provider: Literal["huggingface", "civitai"]
    set: bool
    origin: Literal["stored", "settings"] | None


class CredentialsAnswer(Schema):
    credentials: list[Credential]


class CredentialCheckRequest(Schema):
    """``url``: a file that should be to be had with it."""

    url: ShortText | None = None


class CredentialCheck(Schema):
    """``account``: whose token it is; ``scopes``: what it may do, in the provider's words. ``code`` and
    ``message`` say what is missing, null if nothing is; ``page_url``: where to do something about it.
    """

    provider: Literal["huggingface", "civitai"]
    set: bool
    account: str | None = None
    scopes: list[str] = Field(default_factory=list)
    code: str | None = None
    message: str | None = None
    page_url: str | None = None


class SettingValue(Schema):
    """``value`` is null for a secret; ``set`` then says whether there is one. ``changeable``: whether
    ``PATCH settings`` can change it, as far as its ``source`` allows it.
    """

    name: str
    value: Any
    set: bool
    source: str
    changeable: bool
    description: str


class SettingsRequest(RootModel[dict[str, Any]]):
    """New values by the settings' names; null takes a value back to its default."""


class SettingsAnswer(Schema):
    settings: list[SettingValue]
