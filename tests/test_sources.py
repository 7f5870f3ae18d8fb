"""Sources that need no search, ranking, and how they are asked together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from resolver.digest import load_digest
from resolver.errors import DownloadError, UrlRefused
from resolver.resolution import ResolutionService
from resolver.schemas import Resolution
from resolver.sources import Context, Offer, Source, Wanted, normalise_url, url_file_name
from resolver.sources.asking import Budget
from resolver.sources.catalog import CatalogSource, Entry, manager_entries
from resolver.sources.ranking import rank
from resolver.sources.workflow import WorkflowSource
from resolver.store import Store
from resolver.workflow import EmbeddedModel
from tests.fakes import FakeHost

HF = "https://huggingface.co/o/r/resolve/main/"
A, B = "a" * 64, "b" * 64
WANTED = Wanted("loras/style/x.safetensors", "loras", "style/x.safetensors")


def embedded(name: str, url: str, hash_: str | None = None) -> EmbeddedModel:
    return EmbeddedModel(name, url, "loras", hash_, "SHA256" if hash_ else None)


async def from_workflow(wanted: Wanted, *entries: EmbeddedModel, notes: tuple[str, ...] = ()) -> list[Offer]:
    return await WorkflowSource().find(wanted, Context(entries, notes), Budget())


# --- the workflow itself ------------------------------------------------------------------------


async def test_metadata_counts_for_this_very_name_only() -> None:
    entries = (
        embedded("style\\x.safetensors", HF + "x.safetensors", A),
        embedded("x.safetensors", HF + "other/x.safetensors"),
        embedded("x_v2.safetensors", HF + "x_v2.safetensors"),
    )
    offers = await from_workflow(WANTED, *entries)
    assert [(offer.url, offer.sha256, offer.evidence) for offer in offers] == [
        (HF + "x.safetensors", None, {"embedded_url"})
    ], "the hash that the author states is no evidence for what lies there"


@pytest.mark.parametrize(
    ("note", "found"),
    [
        (f"Get it [here]({HF}x.safetensors).", True),
        (f"{HF}x.safetensors?download=true", True),
        (f"<{HF}sub%20folder/x.safetensors>", True),
        ("https://huggingface.co/o/r/blob/main/x.safetensors, then", True),
        (f"{HF}my_x.safetensors", False),
        (f"{HF}x.safetensors.index.json", False),
        (f"{HF}X.safetensors", False),
        ("x.safetensors is on huggingface.co", False),
    ],
)
async def test_note_links_must_end_in_the_very_file_name(note: str, found: bool) -> None:
    offers = await from_workflow(WANTED, notes=(note,))
    assert [offer.evidence for offer in offers] == ([{"note_link"}] if found else [])
    assert all("/resolve/" in offer.url and "?" not in offer.url for offer in offers)


def test_urls_are_brought_to_one_form() -> None:
    assert normalise_url("https://huggingface.co/o/r/blob/main/x.pt?download=true#top") == HF + "x.pt"
    assert normalise_url("https://civitai.com/api/download/models/1?type=Model") == (
        "https://civitai.com/api/download/models/1?type=Model"
    )
    assert normalise_url(HF + "blob/x.pt") == HF + "blob/x.pt", "a directory of that name is no page"
    assert normalise_url("https://huggingface.co/datasets/o/r/blob/main/x.pt") == (
        "https://huggingface.co/datasets/o/r/resolve/main/x.pt"
    )
    assert url_file_name(HF + "a%20b/%E6%A8%A1.pt") == "模.pt"


async def test_an_entry_of_another_folder_speaks_of_another_file() -> None:
    entry = EmbeddedModel("style/x.safetensors", HF + "x.safetensors", "vae", None, None)
    assert await from_workflow(WANTED, entry) == []


async def test_what_cannot_be_a_url_costs_nothing_else() -> None:
    note = f"更多模型见 https://civitai.com：谢谢 https://[::1/x.safetensors 还有{HF}x.safetensors，就这些"
    entries = (
        embedded("style/x.safetensors", "https://[::1"),
        embedded("style/x.safetensors", HF + "y/x.safetensors"),
    )
    offers = await from_workflow(WANTED, *entries, notes=(note,))
    assert [offer.url for offer in offers] == [HF + "y/x.safetensors", HF + "x.safetensors"]


@pytest.mark.parametrize(
    ("url", "confidence"),
    [
        ("https://huggingface.co/org/repo", "possible"),
        ("https://civitai.com/models/1234/my-lora", "possible"),
        ("https://civitai.com/api/download/models/1234?type=Model", "exact"),
        (HF + "other.safetensors", "probable"),
        (HF + "x.safetensors", "exact"),
    ],
)
async def test_a_page_is_not_the_authors_url_for_the_file(url: str, confidence: str) -> None:
    wanted = Wanted(WANTED.id, WANTED.folder, WANTED.name, sha256=A)
    offers = await from_workflow(wanted, embedded("style/x.safetensors", url, A))
    ranked = rank(wanted, offers).candidates
    assert [candidate.confidence for candidate in ranked] == [confidence]
    assert "sha256" not in ranked[0].evidence, "nobody but the author states it"


# --- catalogs -----------------------------------------------------------------------------------


async def test_a_catalog_answers_for_equal_file_names_and_is_read_once() -> None:
    reads = []

    def load() -> list[Entry]:
        reads.append(1)
        return [
            Entry("sub/x.safetensors", "loras", HF + "x.safetensors", A),
            Entry("my_x.safetensors", "loras", HF),
        ]

    source = CatalogSource("templates", load)
    answers = await asyncio.gather(*(source.find(WANTED, Context(), Budget()) for _ in range(5)))
    assert [[offer.url for offer in answer] for answer in answers] == [[HF + "x.safetensors"]] * 5
    assert reads == [1]


def test_the_templates_are_digested_once_for_each_version(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")

    def keep(column: str, value: str) -> None:
        with store.transaction() as connection:
            connection.execute(f"UPDATE template_digest SET {column} = ?", (value,))

    digest = load_digest(store)
    assert len(digest.entries) > 300
    assert digest.learned.by_input["lora_name"] == "loras"
    ((content,),) = store.query("SELECT content FROM template_digest")
    kept = json.loads(content)
    keep("content", json.dumps({**kept, "entries": kept["entries"][:1]}))
    assert len(load_digest(store).entries) == 1, "what was kept is used"
    keep("version", "another")
    assert load_digest(store) == digest, "and made anew for another version"
    assert len(store.query("SELECT * FROM template_digest")) == 1, "the former one goes"
    keep("content", "{broken")
    assert load_digest(store) == digest
    store.close()


def test_the_managers_list_is_found_in_its_package(tmp_path: Path) -> None:
    entries = {entry.name: entry for entry in manager_entries(FakeHost(tmp_path))}
    assert len(entries) > 400
    taef1 = entries["taef1_decoder.pth"]
    assert (taef1.folder, taef1.url.startswith("https://")) == ("vae_approx", True)
    assert {entry.folder for entry in entries.values()} >= {
        "checkpoints",
        "loras",
        "controlnet",
        "text_encoders",
    }


# --- ranking ------------------------------------------------------------------------------------


def offer(url: str, **extra: object) -> Offer:
    fields = {"source": "templates", "filename": "x.safetensors", "evidence": frozenset({"catalog"}), **extra}
    return Offer(url=url, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted_hash", "given", "confidence"),
    [
        (A, {"sha256": A, "filename": "renamed.safetensors"}, "exact"),
        (A, {"sha256": B}, "possible"),
        (None, {}, "probable"),
        (None, {"folder": "vae"}, "possible"),
        (None, {"folder": "loras"}, "probable"),
        (None, {"filename": "x_v2.safetensors"}, "possible"),
        (None, {"evidence": frozenset({"embedded_url"}), "folder": "vae"}, "possible"),
        (None, {"evidence": frozenset({"embedded_url"})}, "exact"),
        (None, {"evidence": frozenset({"embedded_url"}), "filename": "other.safetensors"}, "probable"),
        (A, {"evidence": frozenset({"embedded_url"}), "sha256": B}, "possible"),
        (None, {"evidence": frozenset({"note_link"})}, "probable"),
    ],
)
def test_confidence(wanted_hash: str | None, given: dict[str, object], confidence: str) -> None:
    wanted = Wanted("loras/x.safetensors", "loras", "x.safetensors", sha256=wanted_hash)
    assert [candidate.confidence for candidate in rank(wanted, [offer(HF, **given)]).candidates] == [
        confidence
    ]


def test_a_generic_name_in_a_catalog_is_only_a_possibility() -> None:
    wanted = Wanted("vae/model.safetensors", "vae", "model.safetensors")
    assert rank(wanted, [offer(HF, filename="model.safetensors")]).candidates[0].confidence == "possible"


def test_a_size_that_is_known_to_differ_is_another_content() -> None:
    wanted = Wanted("loras/x.safetensors", "loras", "x.safetensors", size=10)
    assert rank(wanted, [offer(HF, size=11)]).candidates[0].confidence == "possible"
    assert "size" in rank(wanted, [offer(HF, size=10)]).candidates[0].evidence


def test_equal_content_is_one_candidate_with_mirrors_the_free_one_first() -> None:
    gated = offer(HF + "gated", sha256=A, source="workflow", needs="licence", gated=True)
    ranked = rank(WANTED, [gated, offer(HF + "free", sha256=A), offer(HF + "other", sha256=B)])
    assert [(candidate.url, candidate.mirrors) for candidate in ranked.candidates] == [
        (HF + "free", [HF + "gated"]),
        (HF + "other", []),
    ]
    assert ranked.state == "ambiguous"


def test_states() -> None:
    assert rank(WANTED, []).state == "not_found"
    assert rank(WANTED, [offer(HF)]).state == "resolved"
    assert rank(WANTED, [offer(HF, filename="y.pt")]).state == "ambiguous"
    author = offer(HF + "author", evidence=frozenset({"embedded_url"}), source="workflow")
    assert rank(WANTED, [author, offer(HF)]).state == "resolved", "one stands out"


# --- asked together -----------------------------------------------------------------------------


@dataclass
class Remote:
    size: int | None = 5
    sha256: str | None = A
    content_type: str | None = None
    filename: str | None = None
    url: str = HF


@dataclass
class FakeSource:
    name: str
    answer: Callable[[], Awaitable[list[Offer]]]
    online: bool = False

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        return await self.answer()


def source(name: str, *offers: Offer) -> Source:
    async def answer() -> list[Offer]:
        return list(offers)

    return FakeSource(name, answer)


async def resolve(
    *sources: Source, probe: Callable[[str], object] = lambda url: Remote(), online: bool = True
) -> Resolution:
    async def asked(url: str) -> Remote:
        answer = probe(url)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Remote)
        return answer

    def allowed(url: str) -> None:
        if not url.startswith("https:"):
            raise UrlRefused("no", code="URL_SCHEME")
        if "elsewhere" in url:
            raise UrlRefused("no", code="URL_HOST_NOT_ALLOWED")

    service = ResolutionService(sources, asked, allowed)
    found = [resolution async for resolution in service.resolve([WANTED], Context(), online=online)]
    assert len(found) == 1
    return found[0]


def server(name: str, answer: Callable[[], list[Offer]]) -> Source:
    """A source that asks servers."""

    async def find() -> list[Offer]:
        return answer()

    return FakeSource(name, find, online=True)


async def test_servers_are_searched_only_for_what_is_not_certain_or_not_to_be_had() -> None:
    asked: list[str] = []
    author = offer(HF + "x", source="workflow", evidence=frozenset({"embedded_url"}))
    found = offer(HF + "mirror", source="huggingface", evidence=frozenset())

    def search() -> list[Offer]:
        asked.append("huggingface")
        return [found]

    settled = await resolve(source("workflow", author), server("huggingface", search))
    assert (settled.state, asked) == ("resolved", [])
    gated = DownloadError("licence", code="GATED")
    unsettled = await resolve(
        source("workflow", author),
        server("huggingface", search),
        probe=lambda url: gated if url == author.url else Remote(),
    )
    assert asked == ["huggingface"]
    assert {candidate.url for candidate in unsettled.candidates} == {author.url, found.url}
    await resolve(source("templates", offer(HF)), server("huggingface", search), online=False)
    assert asked == ["huggingface"], "offline it is left alone"


async def test_being_offline_is_one_state_and_one_server_down_is_its_own_error() -> None:
    def down() -> list[Offer]:
        raise DownloadError("no route", code="NETWORK")

    def refused() -> list[Offer]:
        raise DownloadError("slow down", code="RATE_LIMITED")

    offline = await resolve(server("huggingface", down), server("civitai", down))
    assert [(error.source, error.code) for error in offline.errors] == [("resolver", "OFFLINE")]
    one = await resolve(server("huggingface", down), server("civitai", refused))
    assert {(error.source, error.code) for error in one.errors} == {
        ("huggingface", "NETWORK"),
        ("civitai", "RATE_LIMITED"),
    }


DOWN = DownloadError("no route", code="NETWORK")
AUTHORS = offer(HF + "x", source="workflow", evidence=frozenset({"embedded_url"}))


async def test_being_offline_is_one_state_for_what_the_author_and_catalogs_link_to_as_well() -> None:
    def down() -> list[Offer]:
        raise DOWN

    here = [source("workflow", AUTHORS), source("templates", offer(HF + "x"), offer(HF + "y"))]
    found = await resolve(*here, server("huggingface", down), server("civitai", down), probe=lambda url: DOWN)
    assert [(error.source, error.code) for error in found.errors] == [("resolver", "OFFLINE")]
    assert [(c.url, c.confidence) for c in found.candidates] == [
        (HF + "x", "exact"),
        (HF + "y", "probable"),
    ]


async def test_where_the_authors_server_is_down_the_file_is_looked_for_elsewhere() -> None:
    found = await resolve(
        source("workflow", AUTHORS),
        source("templates", offer(AUTHORS.url)),
        server("huggingface", lambda: [offer(HF + "copy", source="huggingface", evidence=frozenset())]),
        probe=lambda url: DOWN if url == AUTHORS.url else Remote(),
    )
    assert [candidate.url for candidate in found.candidates] == [AUTHORS.url, HF + "copy"]
    assert [(error.source, error.code) for error in found.errors] == [("workflow", "NETWORK")], "once"


async def test_one_server_that_is_down_is_not_being_offline() -> None:
    alone = await resolve(source("workflow", AUTHORS), probe=lambda url: DOWN)
    assert [(error.source, error.code) for error in alone.errors] == [("workflow", "NETWORK")]
    beside = await resolve(source("workflow", AUTHORS), server("huggingface", list), probe=lambda url: DOWN)
    assert [(error.source, error.code) for error in beside.errors] == [("workflow", "NETWORK")]

    def down() -> list[Offer]:
        raise DOWN

    search = await resolve(source("templates", offer(HF)), server("huggingface", down))
    assert [(error.source, error.code) for error in search.errors] == [("huggingface", "NETWORK")]


async def test_the_servers_word_fills_in_size_and_hash() -> None:
    found = await resolve(source("templates", offer(HF)))
    assert (found.candidates[0].size, found.candidates[0].sha256) == (5, A)


async def test_what_a_server_answered_to_one_login_is_not_taken_for_its_answer_to_another() -> None:
    login, asked = "", []

    async def probe(url: str) -> Remote:
        asked.append(login)
        if not login:
            raise DownloadError("licence", code="GATED")
        return Remote()

    service = ResolutionService(
        [source("templates", offer(HF))], probe, lambda url: None, account=lambda: login
    )

    async def needs() -> str | None:
        [found] = [resolution async for resolution in service.resolve([WANTED], Context())]
        return found.candidates[0].needs

    assert [await needs(), await needs()] == ["licence", "licence"]
    login = "ada"
    assert await needs() is None
    login = ""
    assert await needs() == "licence"
    assert asked == ["", "ada"]


async def test_offline_nobody_is_asked() -> None:
    found = await resolve(
        source("templates", offer(HF)), probe=lambda url: pytest.fail("asked"), online=False
    )
    assert (found.state, found.candidates[0].size) == ("resolved", None)


async def test_a_failing_source_costs_its_own_answer_only(caplog: pytest.LogCaptureFixture) -> None:
    url = "https://models.example/x?key=of-somebody"

    async def fail() -> list[Offer]:
        raise RuntimeError(url)

    found = await resolve(FakeSource("broken", fail), source("templates", offer(HF)))
    assert found.state == "resolved"
    assert [(error.source, error.code) for error in found.errors] == [("broken", "SOURCE_FAILED")]
    assert "RuntimeError" in found.errors[0].message
    assert "in fail" in caplog.text
    assert "of-somebody" not in found.errors[0].message + caplog.text, "nobody knows what is in its words"


async def test_a_hanging_source_costs_its_own_answer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolver.resolution._SOURCE_SECONDS", 0.05)

    async def hang() -> list[Offer]:
        await asyncio.sleep(60)
        return []

    found = await resolve(FakeSource("slow", hang), source("templates", offer(HF)))
    assert found.state == "resolved"
    assert [(error.source, error.code) for error in found.errors] == [("slow", "SOURCE_TIMEOUT")]


async def test_a_file_that_is_gone_is_no_candidate_and_a_gated_one_says_what_it_needs() -> None:
    gone = await resolve(
        source("templates", offer(HF)), probe=lambda url: DownloadError("gone", code="NOT_FOUND")
    )
    assert (gone.state, gone.errors[0].code) == ("not_found", "NOT_FOUND")
    gated = await resolve(
        source("templates", offer(HF)), probe=lambda url: DownloadError("licence", code="GATED")
    )
    assert (gated.candidates[0].gated, gated.candidates[0].needs) == (True, "licence")


async def test_a_page_where_a_file_should_be_is_no_candidate() -> None:
    page = Remote(content_type="text/html")
    found = await resolve(source("templates", offer(HF)), probe=lambda url: page)
    assert (found.state, [error.code for error in found.errors]) == ("not_found", ["NOT_A_MODEL"])


async def test_what_is_no_web_address_is_not_offered() -> None:
    found = await resolve(source("workflow", offer("javascript:alert(1)//x.safetensors")))
    assert found.candidates == []


async def test_a_host_that_is_not_allowed_is_shown_but_never_asked() -> None:
    found = await resolve(
        source("manager", offer("https://elsewhere.example/x.safetensors")),
        probe=lambda url: pytest.fail("asked"),
    )
    assert found.candidates[0].needs == "allowed_host"
