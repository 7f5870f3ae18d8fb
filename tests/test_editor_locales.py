"""The panel's texts: both languages have the same ones, all that is said, and a word for every error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from resolver import download
from resolver.sources.ranking import _SOURCES

CHECKOUT = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "zh")
SCRIPTS = sorted([*(CHECKOUT / "web").glob("*.js"), *(CHECKOUT / "web" / "js").rglob("*.js")])


def texts(language: str, tree: Any = None, prefix: str = "") -> dict[str, str]:
    """All texts by their keys, ``row.notFound``."""
    if tree is None:
        path = CHECKOUT / "locales" / language / "main.json"
        tree = json.loads(path.read_text(encoding="utf-8"))["modelResolver"]
    found: dict[str, str] = {}
    for name, value in tree.items():
        key = prefix + name
        found.update({key: value} if isinstance(value, str) else texts(language, value, f"{key}."))
    return found


def download_codes() -> list[str]:
    """Of the tables in the package's description: each row begins with its code."""
    return re.findall(r"^([A-Z]+(?:_[A-Z]+)*)(?: \*)?  +[a-z(]", download.__doc__ or "", re.MULTILINE)


def test_both_languages_have_the_same_texts_with_the_same_blanks() -> None:
    english, chinese = texts("en"), texts("zh")
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        blanks, others = (set(re.findall(r"\{\w+\}", found)) for found in (text, chinese[key]))
        assert blanks == others, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_of_a_download_has_words(language: str) -> None:
    codes = download_codes()
    assert {"NAME_UNSAFE", "RATE_LIMITED", "STORE_UNAVAILABLE"} <= set(codes)
    assert len(codes) > 30
    known = texts(language)
    assert [code for code in codes if f"errors.{code}" not in known] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_source_and_what_its_candidates_may_be_has_words(language: str) -> None:
    known = texts(language)
    values = {
        "sources": _SOURCES,
        "evidence.by": ("templates", "manager", "examples", "history"),
        "safety": ("danger", "unscanned", "scanned"),
        "needs": ("licence", "token", "early_access", "allowed_host"),
    }
    missing = [f"{group}.{name}" for group, names in values.items() for name in names]
    assert [key for key in missing if key not in known] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_panel_says_is_there_to_be_said(language: str) -> None:
    """Keys that are put together at run time are looked up by their beginning."""
    known = texts(language)
    for script in SCRIPTS:
        code = script.read_text(encoding="utf-8")
        for key in re.findall(r"\bt\('([\w.]+)'", code):
            assert key in known, f"{script.name}: {key}"
        for start in re.findall(r"\bt\(`([\w.]+\.)\$\{", code):
            assert any(key.startswith(start) for key in known), f"{script.name}: {start}…"


def test_no_text_is_left_that_nothing_says() -> None:
    code = "\n".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    # `row.${…}` and say('row', …) may say any text of that group.
    groups = set(re.findall(r"[`']([\w.]+)\.\$\{", code)) | set(re.findall(r"\bsay\('([\w.]+)'", code))
    groups |= {"errors", "access.missing"}  # looked up by codes
    left = [key for key in texts("en") if f"'{key}'" not in code and key.rpartition(".")[0] not in groups]
    assert left == []
