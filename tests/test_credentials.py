"""Which token is used where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
LOOKUP = (
    "from resolver.settings import load_settings; from resolver.net.client import credentials_from;"
    "lookup = credentials_from(load_settings().values); print(lookup('huggingface'), lookup('civitai'))"
)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "hf_logged_in None"),
        ({"CMR_HF_TOKEN": "hf_set"}, "hf_set None"),
        ({"CMR_CIVITAI_API_KEY": "key"}, "hf_logged_in key"),
        # The one that other tools are logged in with was never meant for somebody else's server.
        ({"CMR_HF_ENDPOINT": "https://mirror.example"}, "None None"),
        ({"CMR_HF_ENDPOINT": "https://mirror.example", "CMR_HF_TOKEN": "hf_set"}, "hf_set None"),
    ],
)
def test_tokens_of_the_settings_win_over_the_logged_in_one(
    tmp_path: Path, environment: dict[str, str], found: str
) -> None:
    (tmp_path / "token").write_text("hf_logged_in")
    outcome = subprocess.run(
        [sys.executable, "-c", LOOKUP],
        cwd=CHECKOUT,
        env={**os.environ, "HF_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
    )
    assert outcome.stdout.strip() == found, outcome.stderr
