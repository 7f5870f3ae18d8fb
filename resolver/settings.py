"""Settings: defaults < YAML file < ``.env`` < environment < command line, as one object.

An unknown ``CMR_`` name or a bad value is an error that names it; nothing is ignored silently. What is in
``CHANGEABLE`` may be changed while the program runs (``LoadedSettings.change``), nothing else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AliasChoices,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import BadInput, Conflict, ResolverError, SettingsError
from .yaml_file import change_yaml

PREFIX = "CMR_"
CONFIG_FILE = "model_resolver.yaml"
CHANGEABLE = frozenset({"bandwidth_limit", "max_concurrent_downloads", "log_level", "hash_library"})
"""What is looked at anew each time it counts. Everything else is built into what starts with the program,
or decides whom it trusts, which no request may."""

HUGGING_FACE = "https://huggingface.co"
CIVITAI = "https://civitai.com"
CIVITAI_WWW = "https://www.civitai.com"
CIVITAI_RED = "https://civitai.red"
"""Civitai's other site: the catalogue is split between the two."""
MODELSCOPE = "https://www.modelscope.cn"

# The first design of this program had a page of its own (Gradio) on a port of its own.
_FORMER = {
    "CMR_GRADIO_HOST": "CMR_API_HOST",
    "CMR_GRADIO_PORT": "CMR_API_PORT",
    "CMR_GRADIO_SHARE": None,
    "CMR_MAX_WORKERS": "CMR_MAX_CONCURRENT_DOWNLOADS",
}


def _split(value: Any) -> Any:
    """``"a, b"`` -> ``("a", "b")``; lists (from YAML) pass through."""
    if isinstance(value, str):
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())
    return value


Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """All settings. Field ``x_y`` is read from ``CMR_X_Y``; in YAML it is written ``x_y``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    comfyui_root: Path | None = Field(
        None, description="The ComfyUI folder whose models/ is used when standalone."
    )
    api_host: str = Field("127.0.0.1", description="Address the standalone server listens on.")
    api_port: int = Field(5002, ge=0, le=65535, description="Port of the standalone server.")
    api_token: SecretStr | None = Field(
        None, description="Bearer token callers of the standalone server must send."
    )
    enable_ui: bool = Field(True, description="Serve the page on the standalone server.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for people, or JSON lines for machines."
    )
    civitai_api_key: SecretStr | None = Field(None, description="Civitai API key; sent to Civitai only.")
    hf_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("CMR_HF_TOKEN", "HF_TOKEN"),
        description="Hugging Face access token; sent to the Hugging Face endpoint only.",
    )
    hf_endpoint: str = Field(
        HUGGING_FACE,
        validation_alias=AliasChoices("CMR_HF_ENDPOINT", "HF_ENDPOINT"),
        description="Hugging Face, or a mirror of it; huggingface.co URLs are fetched from here.",
    )
    civitai_endpoint: str = Field(CIVITAI, description="Civitai, or a mirror of it.")
    modelscope: bool = Field(
        False, description="Ask ModelScope for further places of Hugging Face's files, and download from it."
    )
    modelscope_endpoint: str = Field(MODELSCOPE, description="ModelScope, or a mirror of it.")
    max_concurrent_downloads: int = Field(3, ge=1, le=32, description="Files fetched at the same time.")
    download_timeout: float = Field(
        300.0, gt=0, description="Seconds without a byte after which a connection is given up."
    )
    connections_per_download: int = Field(
        16, ge=1, le=64, description="Most connections one file may use; as many as pay off are opened."
    )
    bandwidth_limit: ByteSize | None = Field(
        None, gt=0, description="Bytes per second for all downloads together, e.g. 20MB."
    )
    disk_reserve: ByteSize = Field(
        ByteSize(1024**3), description="Free space a download must leave, e.g. 2GiB."
    )
    allowed_hosts: Hosts = Field(
        (), description="Further hosts (host or host:port, comma-separated) to download from."
    )
    trusted_hosts: Hosts = Field(
        (), description="Names (wildcards allowed) under which this server may be called."
    )
    hash_library: bool = Field(
        False, description="Hash the model files that have no known hash in the background, at each start."
    )
    enable_cache: bool = Field(True, description="Remember answers of searches.")
    redis_url: SecretStr | None = Field(
        None, description="Share remembered answers through this Redis server (needs the extra [redis])."
    )
    http_proxy: str | None = Field(
        None,
        validation_alias=AliasChoices("HTTP_PROXY", "http_proxy"),
        description="Proxy for http URLs: http://, https://, or (needs the extra [socks]) socks5://, socks5h://.",
    )
    https_proxy: str | None = Field(
        None,
        validation_alias=AliasChoices("HTTPS_PROXY", "https_proxy"),
        description="Proxy for https URLs: as for http URLs.",
    )
    no_proxy: str | None = Field(
        None,
        validation_alias=AliasChoices("NO_PROXY", "no_proxy"),
        description="Hosts reached without a proxy: domains, addresses or networks, comma-separated.",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("hf_endpoint", "civitai_endpoint", "modelscope_endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        value = value.strip().rstrip("/")
        if not value.startswith(("https://", "http://")):
            raise ValueError("must start with https:// (or http:// for a host listed in CMR_ALLOWED_HOSTS)")
        return value

    @field_validator(
        "api_token", "civitai_api_key", "hf_token", "redis_url", "http_proxy", "https_proxy", mode="before"
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: ``load_settings`` reads the layers, to know where each value came from."""
        return (init_settings,)


def environment_name(field: str) -> str:
    """The name a setting has in the environment: ``hf_token`` -> ``CMR_HF_TOKEN``."""
    return field.upper() if field.endswith("_proxy") else PREFIX + field.upper()


def is_secret(field: str) -> bool:
    """Whether the value of ``field`` may never be shown. Proxy URLs may carry a password."""
    return field in ("api_token", "civitai_api_key", "hf_token", "redis_url", "http_proxy", "https_proxy")


class LoadedSettings:
    """The settings and, for each field, the layer its value came from.

    ``config``: the YAML file that keeps changes; None where no directory for it is known.
    """

    def __init__(self, values: Settings, origins: Mapping[str, str], config: Path | None = None) -> None:
        self.values = values
        self.origins = dict(origins)
        self.config = config
        self._lock = threading.Lock()

    def change(self, changes: Mapping[str, Any]) -> frozenset[str]:
        """Give settings new values, now and at later starts; all or, if one cannot be changed, none.

        ``changes``: names as in the environment or the YAML; None takes a value out of the file, so that
        the default counts. Returns the fields. Blocks: the YAML file is replaced in one step.
        Raises ``BadInput`` (``SETTING_UNKNOWN``, ``SETTING_INVALID``), ``Conflict``
        (``SETTING_NEEDS_RESTART``, ``SETTING_FROM_ELSEWHERE``: the environment or the command line would
        win at the next start), ``ResolverError`` (``SETTINGS_NOT_WRITTEN``).
        """
        fields = {self._changeable(name): value for name, value in changes.items()}
        values = {field: self._checked(field, value) for field, value in fields.items()}
        with self._lock:
            self._keep(fields)
            # The object itself is frozen for all who hold it; this is the one place that changes it.
            self.values.__dict__.update(values)
            for field, value in fields.items():
                self.origins[field] = "default" if value is None else "yaml"
        return frozenset(fields)

    def _changeable(self, name: str) -> str:
        field = _field_name(name)
        if field not in Settings.model_fields:
            raise BadInput(
                f"The setting {name[:80]!r} is unknown. Check its spelling.",
                code="SETTING_UNKNOWN",
                setting=name[:80],
            )
        name = environment_name(field)
        if field not in CHANGEABLE:
            raise Conflict(
                f"{name} cannot be changed while the program runs. Set it in {CONFIG_FILE} or the "
                "environment, and restart.",
                code="SETTING_NEEDS_RESTART",
                setting=name,
            )
        origin = self.origins.get(field, "default")
        if origin not in ("default", "yaml"):
            raise Conflict(
                f"{name} is set by the {origin}, which would win again at the next start. Change it there.",
                code="SETTING_FROM_ELSEWHERE",
                setting=name,
                origin=origin,
            )
        return field

    @staticmethod
    def _checked(field: str, value: Any) -> Any:
        try:
            return getattr(Settings(**({} if value is None else {field: value})), field)
        except ValidationError as error:
            problem = error.errors(include_input=False)[0]
            raise BadInput(
                f"{environment_name(field)} has a bad value: {_problem(problem)}.",
                code="SETTING_INVALID",
                setting=environment_name(field),
            ) from None

    def _keep(self, changes: Mapping[str, Any]) -> None:
        if self.config is None:
            raise ResolverError("There is no settings file to write to.", code="SETTINGS_NOT_WRITTEN")
        try:
            change_yaml(self.config, changes)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ResolverError(
                f"The settings file {self.config} cannot be changed: {yaml_problem(error)}.",
                code="SETTINGS_NOT_WRITTEN",
            ) from None


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    user_directory: Path | None = None,
    dotenv: Path | None = None,
) -> LoadedSettings:
    """Read all layers, low to high, and check them.

    ``overrides``: field names from the command line; ``None`` values do not count. ``user_directory``:
    where ``model_resolver.yaml`` may lie, unless ``CMR_CONFIG`` names another file.
    Raises ``SettingsError`` (``SETTINGS_INVALID``) that names the setting.
    """
    dotenv_layer = DotEnvSettingsSource(Settings, env_file=dotenv) if dotenv and dotenv.is_file() else None
    _refuse_unknown(os.environ, "the environment")
    if dotenv_layer is not None:
        _refuse_unknown({name.upper(): "" for name in dotenv_layer.env_vars}, str(dotenv))

    named = os.environ.get("CMR_CONFIG")
    config = Path(named) if named else user_directory / CONFIG_FILE if user_directory else None
    layers: list[tuple[str, dict[str, Any]]] = [("yaml", _read_yaml(config, must_exist=bool(named)))]
    if dotenv_layer is not None:
        layers.append((".env", _by_field(dotenv_layer())))
    layers.append(("environment", _by_field(EnvSettingsSource(Settings)())))
    layers.append(("command line", {k: v for k, v in (overrides or {}).items() if v is not None}))

    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in layers:
        for field, value in values.items():
            merged[field] = value
            origins[field] = origin
    try:
        return LoadedSettings(Settings(**merged), origins, config)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = _field_name(str(first["loc"][0])) if first["loc"] else "settings"
        origin = origins.get(field, "default")
        name = field if origin == "yaml" else environment_name(field)
        raise SettingsError(
            f"The setting {name} (from {origin}) has a bad value: {_problem(first)}.",
            setting=name,
            origin=origin,
        ) from None


def _problem(error: Mapping[str, object]) -> str:
    """What is wrong with a value, without the value."""
    return str(error["msg"]).removeprefix("Value error, ")


def _field_name(name: str) -> str:
    lowered = name.lower()
    lowered = lowered.removeprefix(PREFIX.lower())
    return lowered if lowered in Settings.model_fields else name


def _by_field(values: Mapping[str, Any]) -> dict[str, Any]:
    """The layer by field names: sources answer with an alias where a field has one."""
    return {
        field: value
        for name, value in values.items()
        if (field := _field_name(name)) in Settings.model_fields
    }


def _refuse_unknown(environ: Mapping[str, str], origin: str) -> None:
    known = {environment_name(field) for field in Settings.model_fields} | {"CMR_CONFIG"}
    for name in sorted(environ):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        if name.upper() in _FORMER:
            successor = _FORMER[name.upper()]
            hint = f"Use {successor} instead." if successor else "Remove it."
            raise SettingsError(
                f"The setting {name} in {origin} belongs to an earlier design. The page is served on the "
                f"API port now. {hint}",
                setting=name,
            )
        raise SettingsError(f"The setting {name} in {origin} is unknown. Check its spelling.", setting=name)


def yaml_problem(error: Exception) -> str:
    """What is wrong with a YAML file, and where; never its text, which may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"{error.problem or 'it is malformed'}{where}"
    return error.strerror or "it cannot be opened" if isinstance(error, OSError) else "it is not YAML"


def _read_yaml(path: Path | None, *, must_exist: bool) -> dict[str, Any]:
    if path is None or not path.is_file():
        if must_exist:
            raise SettingsError(f"CMR_CONFIG names {path}, which is not a file.", setting="CMR_CONFIG")
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {yaml_problem(error)}.", setting=str(path)
        ) from None
    if not isinstance(content, dict):
        raise SettingsError(
            f"The settings file {path} must be a mapping of names to values.", setting=str(path)
        )
    for name in content:
        if name not in Settings.model_fields:
            raise SettingsError(
                f"The setting {name!r} in {path} is unknown. Check its spelling.", setting=str(name)
            )
    return content
