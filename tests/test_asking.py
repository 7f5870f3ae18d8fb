"""Questions to servers: remembered, asked once at a time, paced, within a budget."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from resolver.errors import DownloadError
from resolver.sources.asking import DAY, Answered, Asker, Budget, NoCache, Remembered

HOST = "models.example"


class Notebook:
    """A cache in memory."""

    def __init__(self) -> None:
        self.answers: dict[str, Remembered] = {}

    async def get(self, question: str) -> Remembered | None:
        return self.answers.get(question)

    async def put(self, question: str, answer: Remembered) -> None:
        self.answers[question] = answer


class Server:
    """Answers with what it was given, in turn, or raises it; ``etags``: with which it was asked."""

    def __init__(self, *answers: Any, seconds: float = 0.0) -> None:
        self.answers = list(answers)
        self.seconds = seconds
        self.etags: list[str | None] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, etag: str | None) -> Answered:
        self.etags.append(etag)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Answered) else Answered(answer)


def limited(seconds: float | None) -> DownloadError:
    return DownloadError("slow down", code="RATE_LIMITED", retryable=True, retry_after=seconds)


async def test_an_answer_is_remembered() -> None:
    asker, server = Asker(Notebook()), Server({"n": 1}, {"n": 2})
    answers = [await asker.ask(HOST, "q", server, Budget()) for _ in range(3)]
    assert answers == [{"n": 1}] * 3
    assert len(server.etags) == 1


async def test_without_a_cache_it_is_asked_each_time() -> None:
    asker, server = Asker(NoCache()), Server(1, 2)
    assert [await asker.ask(HOST, "q", server, Budget()) for _ in range(2)] == [1, 2]


async def test_nothing_is_remembered_for_less_long_than_something() -> None:
    notebook = Notebook()
    asker = Asker(notebook)
    for question, value in (("none", None), ("empty", []), ("some", [1])):
        await asker.ask(HOST, question, Server(value), Budget(), keep=1000.0, keep_nothing=10.0)
    left = {question: answer.fresh_until - time.time() for question, answer in notebook.answers.items()}
    assert left["none"] < 11
    assert left["empty"] < 11
    assert left["some"] > 900


async def test_what_is_no_longer_fresh_is_asked_for_with_its_etag_and_kept_if_it_still_holds() -> None:
    notebook = Notebook()
    notebook.answers["q"] = Remembered({"n": 1}, '"v1"', time.time() - 1)
    server = Server(Answered(etag='"v1"', unchanged=True))
    assert await Asker(notebook).ask(HOST, "q", server, Budget()) == {"n": 1}
    assert server.etags == ['"v1"']
    assert notebook.answers["q"].fresh_until > time.time() + DAY / 2
    assert notebook.answers["q"].etag == '"v1"'


async def test_the_same_question_at_the_same_time_goes_out_once() -> None:
    asker, server = Asker(NoCache()), Server("yes", seconds=0.05)
    answers = await asyncio.gather(*(asker.ask(HOST, "q", server, Budget()) for _ in range(20)))
    assert answers == ["yes"] * 20
    assert len(server.etags) == 1


async def test_who_asked_first_may_give_up_without_taking_the_answer_from_the_others() -> None:
    asker, server = Asker(NoCache()), Server("yes", seconds=0.05)
    first = asyncio.create_task(asker.ask(HOST, "q", server, Budget()))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(asker.ask(HOST, "q", server, Budget()))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second == "yes"
    assert len(server.etags) == 1


async def test_a_host_gets_few_questions_at_the_same_time_and_another_host_its_own() -> None:
    asker, server, other = Asker(NoCache()), Server(1, seconds=0.02), Server(2, seconds=0.02)
    questions = [asker.ask(HOST, f"q{n}", server, Budget()) for n in range(30)]
    questions += [asker.ask("other.example", f"p{n}", other, Budget()) for n in range(30)]
    await asyncio.gather(*questions)
    assert server.most_at_once == other.most_at_once == 6


async def test_a_host_that_asks_for_patience_gets_it() -> None:
    asker, server = Asker(NoCache()), Server(limited(0.2), "yes")
    started = time.monotonic()
    assert await asker.ask(HOST, "q", server, Budget()) == "yes"
    assert time.monotonic() - started >= 0.2
    assert len(server.etags) == 2


async def test_while_a_host_wants_more_patience_than_a_model_has_nobody_asks_it_again() -> None:
    asker, server, other = Asker(NoCache()), Server(limited(300)), Server("other")
    for question in ("q1", "q2"):
        with pytest.raises(DownloadError) as refused:
            await asker.ask(HOST, question, server, Budget())
        assert refused.value.code == "RATE_LIMITED"
    assert len(server.etags) == 1
    assert await asker.ask("other.example", "q1", other, Budget()) == "other"


async def test_a_host_that_cannot_be_reached_is_not_tried_for_every_model() -> None:
    down = DownloadError("no route", code="NETWORK", retryable=True)
    asker, server = Asker(NoCache()), Server(down)
    for question in ("q1", "q2", "q3"):
        with pytest.raises(DownloadError) as failed:
            await asker.ask(HOST, question, server, Budget())
        assert failed.value is down
    assert len(server.etags) == 1


async def test_an_error_is_not_remembered() -> None:
    asker, server = Asker(Notebook()), Server(DownloadError("unwell", code="SERVER_ERROR"), "yes")
    with pytest.raises(DownloadError):
        await asker.ask(HOST, "q", server, Budget())
    assert await asker.ask(HOST, "q", server, Budget()) == "yes"


async def test_a_budget_ends_and_remembered_answers_cost_nothing() -> None:
    asker, server, budget = Asker(Notebook()), Server(1), Budget(requests=2)
    for question in ("q1", "q1", "q2", "q2"):
        await asker.ask(HOST, question, server, budget)
    with pytest.raises(DownloadError) as spent:
        await asker.ask(HOST, "q3", server, budget)
    assert spent.value.code == "BUDGET_SPENT"
    with pytest.raises(DownloadError):
        Budget(seconds=0.0).spend()


async def test_who_asked_first_may_have_nothing_left_to_spend_without_taking_the_answer_from_the_others() -> (
    None
):
    asker, server = Asker(NoCache()), Server("yes", seconds=0.01)
    busy = [asyncio.create_task(asker.ask(HOST, f"q{n}", server, Budget())) for n in range(6)]
    await asyncio.sleep(0)
    poor = asyncio.create_task(asker.ask(HOST, "q", server, Budget(requests=0)))
    rich = [asyncio.create_task(asker.ask(HOST, "q", server, Budget())) for _ in range(3)]
    assert await asyncio.gather(*rich) == ["yes"] * 3
    with pytest.raises(DownloadError) as spent:
        await poor
    assert spent.value.code == "BUDGET_SPENT"
    await asyncio.gather(*busy)
    assert len(server.etags) == 6 + 1
