"""Sources that other packages bring: the example of the documentation, installed and asked."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from resolver.net.client import HttpClient
from resolver.settings import load_settings
from resolver.sources import Context, Wanted
from resolver.sources.asking import Asker, Budget, NoCache
from resolver.sources.plugins import Tools, plugin_sources
from resolver.sources.ranking import rank

DOCUMENT = Path(__file__).parent.parent / "docs" / "sources.md"
SHA256 = hashlib.sha256(b"ours").hexdigest()


def install(place: Path, name: str, module: str, code: str) -> None:
    """What pip leaves of a package with one module and one entry point."""
    (place / f"{module}.py").write_text(code)
    info = place / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[comfyui_model_resolver.sources]\n{name} = {module}:source\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


async def test_the_documented_source_is_loaded_and_what_it_offers_is_ranked(packages: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)

    async def models(request: web.Request) -> web.Response:
        url = "http://127.0.0.1:8765/files/crane.safetensors"
        return web.json_response([{"name": "crane.safetensors", "url": url, "sha256": SHA256}])

    app = web.Application()
    app.router.add_get("/models.json", models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    install(packages, "studio", "studio_models", example.replace("8765", str(port)))
    client = HttpClient(load_settings({"allowed_hosts": f"127.0.0.1:{port}"}).values)
    try:
        [source] = plugin_sources(Tools(client, Asker(NoCache())), taken=())
        assert (source.name, source.online) == ("studio", True)
        wanted = Wanted("loras/crane.safetensors", "loras", "crane.safetensors", sha256=SHA256)
        offers = await source.find(wanted, Context(), Budget())
        assert [candidate.confidence for candidate in rank(wanted, offers).candidates] == ["exact"]
        other = Wanted("loras/x.safetensors", "loras", "x.safetensors")
        assert await source.find(other, Context(), Budget()) == []
    finally:
        await client.close()
        await runner.cleanup()


def test_one_that_fails_or_takes_a_name_costs_itself_only(
    packages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = "class S:\n  name = 'good'\n  online = False\ndef source(tools): return S()\n"
    install(packages, "broken", "broken_source", "raise RuntimeError('boom')\n")
    install(packages, "nameless", "nameless_source", "def source(tools): return object()\n")
    install(packages, "thief", "thief_source", good.replace("'good'", "'huggingface'"))
    install(packages, "good", "good_source", good)
    found = plugin_sources(Tools(None, None), taken={"huggingface"})  # type: ignore[arg-type]
    assert [source.name for source in found] == ["good"]
    assert len(caplog.records) == 3
