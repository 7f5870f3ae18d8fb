"""Settings: layers, and errors that name what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.errors import SettingsError
from resolver.settings import Settings, environment_name, is_secret, load_settings


def test_each_layer_wins_over_the_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def port() -> tuple[int, str]:
        loaded = load_settings(user_directory=tmp_path, dotenv=tmp_path / ".env")
        return loaded.values.api_port, loaded.origins.get("api_port", "default")

    assert port() == (5002, "default")
    (tmp_path / "model_resolver.yaml").write_text("api_port: 1\n")
    assert port() == (1, "yaml")
    (tmp_path / ".env").write_text("CMR_API_PORT=2\nUNRELATED=x\n")
    assert port() == (2, ".env")
    monkeypatch.setenv("CMR_API_PORT", "3")
    assert port() == (3, "environment")
    assert load_settings({"api_port": 4}, user_directory=tmp_path).values.api_port == 4
    assert load_settings({"api_port": None}, user_directory=tmp_path).values.api_port == 3


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("CMR_API_PORT", "many", "CMR_API_PORT"),
        ("CMR_LOG_FORMAT", "xml", "CMR_LOG_FORMAT"),
        ("CMR_HF_ENDPOINT", "ftp://x", "CMR_HF_ENDPOINT"),
        ("CMR_MAX_CONCURENT_DOWNLOADS", "3", "CMR_MAX_CONCURENT_DOWNLOADS"),
        ("CMR_GRADIO_PORT", "7860", "CMR_API_PORT"),
        ("CMR_GRADIO_SHARE", "1", "Remove it"),
        ("CMR_CONFIG", "/nowhere.yaml", "CMR_CONFIG"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert text in caught.value.message


@pytest.mark.parametrize("content", ["api_prt: 1", "[1]", "a: [", "api_port: {}"])
def test_a_bad_yaml_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "model_resolver.yaml").write_text(content)
    with pytest.raises(SettingsError):
        load_settings(user_directory=tmp_path)


def test_other_names_of_the_field_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.example/")
    monkeypatch.setenv("CMR_ALLOWED_HOSTS", "127.0.0.1:80, Example.org ,")
    monkeypatch.setenv("CMR_DISK_RESERVE", "2GiB")
    values = load_settings().values
    assert values.hf_token is not None
    assert values.hf_token.get_secret_value() == "hf_x"
    assert values.hf_endpoint == "https://hf-mirror.example"
    assert values.allowed_hosts == ("127.0.0.1:80", "example.org")
    assert values.disk_reserve == 2 * 1024**3


def test_an_error_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    monkeypatch.setenv("CMR_API_PORT", "planted-port")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "planted" not in caught.value.message


def test_a_broken_file_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "model_resolver.yaml").write_text('hf_token: "hf_planted\nb: 1\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(user_directory=tmp_path)
    assert "line" in caught.value.message
    assert "planted" not in caught.value.message


def test_every_secret_field_is_known_as_one() -> None:
    secrets = {name for name, info in Settings.model_fields.items() if "Secret" in str(info.annotation)}
    assert secrets
    assert all(is_secret(name) for name in secrets)
    assert environment_name("hf_token") == "CMR_HF_TOKEN"
