"""Settings changed while the program runs: now, at the next start, and without harm to the file."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.hub import running_hub
from demo.world import World
from resolver.errors import ResolverError
from resolver.http.table import PREFIX
from resolver.settings import CHANGEABLE, Settings, environment_name, load_settings
from resolver.yaml_file import change_yaml
from tests.standalone_server import Server, serving

SETTINGS = f"{PREFIX}/settings"
WRITTEN = """\
# What I want
hf_token: hf_planted   # mine

bandwidth_limit: 5MB # slow line
trusted_hosts: [a.example, b.example]
"""


def code_of(changes: dict[str, Any], directory: Path) -> str:
    with pytest.raises(ResolverError) as caught:
        load_settings(user_directory=directory).change(changes)
    return caught.value.code


def shown(server: Server) -> dict[str, Any]:
    return {setting["name"]: setting for setting in server.ask("GET", SETTINGS)[1]["settings"]}


def test_a_change_counts_now_and_at_the_next_start(tmp_path: Path) -> None:
    loaded = load_settings(user_directory=tmp_path)
    held = loaded.values
    loaded.change({"CMR_MAX_CONCURRENT_DOWNLOADS": 7, "bandwidth_limit": "2MB"})
    assert (held.max_concurrent_downloads, held.bandwidth_limit) == (7, 2_000_000)
    again = load_settings(user_directory=tmp_path)
    assert (again.values.max_concurrent_downloads, again.values.bandwidth_limit) == (7, 2_000_000)
    assert again.origins["bandwidth_limit"] == "yaml"
    again.change({"CMR_BANDWIDTH_LIMIT": None})
    assert (again.values.bandwidth_limit, again.origins["bandwidth_limit"]) == (None, "default")
    assert load_settings(user_directory=tmp_path).values.bandwidth_limit is None


def test_the_rest_of_the_file_stays_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "model_resolver.yaml"
    file.write_text(WRITTEN)
    file.chmod(0o640)
    load_settings(user_directory=tmp_path).change({"bandwidth_limit": "9MB", "log_level": "debug"})
    expected = WRITTEN.replace("5MB # slow line", "9MB  # slow line") + "log_level: debug\n"
    assert file.read_text() == expected
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == [file.name], "nothing is left beside it"


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    load_settings(user_directory=tmp_path / "user").change({"hash_library": True})
    file = tmp_path / "user" / "model_resolver.yaml"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("hash_library: true\n", 0o600)


@pytest.mark.parametrize(
    "written",
    [
        "{bandwidth_limit: 1MB, api_port: 7}",
        "bandwidth_limit:\n  1MB\napi_port: 7\n",
        '"bandwidth_limit": 1MB\napi_port: 7',
        "api_port: 7\nbandwidth_limit: '1 # MB'\n",
        "---\napi_port: 7\n...\n",
        "",
    ],
)
def test_however_it_is_written_other_values_stay(tmp_path: Path, written: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(written)
    before = yaml.safe_load(written) or {}
    change_yaml(file, {"bandwidth_limit": "3MB"})
    assert yaml.safe_load(file.read_text()) == {**before, "bandwidth_limit": "3MB"}
    change_yaml(file, {"bandwidth_limit": None})
    assert (yaml.safe_load(file.read_text()) or {}) == {
        name: value for name, value in before.items() if name != "bandwidth_limit"
    }


def test_a_file_behind_a_link_is_changed_where_it_is(tmp_path: Path) -> None:
    file, name = tmp_path / "real.yaml", tmp_path / "link.yaml"
    file.write_text("api_port: 7\n")
    name.symlink_to(file)
    change_yaml(name, {"log_level": "INFO"})
    assert (name.is_symlink(), file.read_text()) == (True, "api_port: 7\nlog_level: INFO\n")


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("a file where the directory should be")
    loaded = load_settings(user_directory=tmp_path / "user")
    with pytest.raises(ResolverError) as caught:
        loaded.change({"log_level": "DEBUG"})
    assert (caught.value.code, loaded.values.log_level) == ("SETTINGS_NOT_WRITTEN", "INFO")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"CMR_BANDWITH_LIMIT": 1}, "SETTING_UNKNOWN"),
        ({"CMR_BANDWIDTH_LIMIT": "fast"}, "SETTING_INVALID"),
        ({"CMR_BANDWIDTH_LIMIT": 0}, "SETTING_INVALID"),
        ({"CMR_BANDWIDTH_LIMIT": {}}, "SETTING_INVALID"),
        ({"CMR_MAX_CONCURRENT_DOWNLOADS": 33}, "SETTING_INVALID"),
        ({"CMR_LOG_LEVEL": "LOUD"}, "SETTING_INVALID"),
        ({"CMR_LOG_LEVEL": "DEBUG", "CMR_BANDWIDTH_LIMIT": "fast"}, "SETTING_INVALID"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_nothing_is_changed(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    assert code_of(changes, tmp_path) == expected
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("field", sorted(Settings.model_fields.keys() - CHANGEABLE))
def test_everything_else_needs_a_restart(tmp_path: Path, field: str) -> None:
    assert code_of({environment_name(field): "x"}, tmp_path) == "SETTING_NEEDS_RESTART"


def test_what_the_environment_states_is_changed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMR_LOG_LEVEL", "ERROR")
    assert code_of({"log_level": "DEBUG"}, tmp_path) == "SETTING_FROM_ELSEWHERE"


def test_the_settings_are_otherwise_fixed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().values.log_level = "DEBUG"


def test_a_limit_slows_what_is_under_way(tmp_path: Path) -> None:
    url = "https://huggingface.co/o/r/resolve/main/big.safetensors"
    root = tmp_path / "ComfyUI"
    with (
        running_hub(World.for_urls([url], sizes=60_000_000), bytes_per_second=4_000_000) as hub,
        serving(root, hub) as server,
    ):
        item = {"folder": "vae", "filename": "big.safetensors", "url": url}
        server.ask("POST", f"{PREFIX}/downloads", {"items": [item]})

        def received() -> int:
            return int(server.ask("GET", f"{PREFIX}/downloads")[1]["downloads"][0]["received"])

        while received() < 1_000_000:
            time.sleep(0.1)
        status, answer = server.ask("PATCH", SETTINGS, {"CMR_BANDWIDTH_LIMIT": "16KB"})
        assert status == 200
        time.sleep(1)  # what had been booked at the old rate
        before = received()
        time.sleep(2)
        assert received() - before < 1_000_000, "unlimited it would have been 8 MB"
    values = {setting["name"]: setting for setting in answer["settings"]}
    assert (values["CMR_BANDWIDTH_LIMIT"]["value"], values["CMR_BANDWIDTH_LIMIT"]["source"]) == (
        16_000,
        "yaml",
    )


def test_the_log_level_counts_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "ComfyUI") as server:
        assert server.ask("PATCH", SETTINGS, {"CMR_LOG_LEVEL": "DEBUG"})[0] == 200
        assert "DEBUG" not in server.errors(), "nothing before"
        server.ask("GET", f"{PREFIX}/health")
        assert f"DEBUG   GET {PREFIX}/health" in server.errors()


def test_the_route_names_what_is_wrong_and_shows_no_secret(tmp_path: Path) -> None:
    root = tmp_path / "ComfyUI"
    (root / "user").mkdir(parents=True)
    (root / "user" / "model_resolver.yaml").write_text("hf_token: hf_planted\n")
    with serving(root) as server:
        for body, expected in (
            ({"CMR_HF_TOKEN": "hf_planted_2"}, (409, "SETTING_NEEDS_RESTART")),
            ({"CMR_LOG_LEVEL": "planted"}, (400, "SETTING_INVALID")),
            ({"CMR_NOTHING": 1}, (400, "SETTING_UNKNOWN")),
            ([], (400, "BODY_NOT_JSON")),
        ):
            status, answer = server.ask("PATCH", SETTINGS, body)
            assert (status, answer["error"]["code"]) == expected
            assert "planted" not in str(answer)
        settings = shown(server)
        assert (settings["CMR_HF_TOKEN"]["value"], settings["CMR_HF_TOKEN"]["set"]) == (None, True)
        assert {name for name, setting in settings.items() if setting["changeable"]} == {
            environment_name(field) for field in CHANGEABLE
        }
        assert "planted" not in str(settings)
