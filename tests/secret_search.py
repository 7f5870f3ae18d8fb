"""Tokens that tests hand out, and whether a text has one of them in it."""

from __future__ import annotations

from demo.options import DEMO_TOKEN

WORD = "PLANTED"
"""All secrets made for a test have this word in them, so that one search finds each, however it is cut."""


def has_secret(text: str) -> bool:
    return WORD in text or DEMO_TOKEN in text
