"""Handing out the pieces of a file, writing down which are here, and how many connections it is worth."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resolver.download.governor import Governor
from resolver.download.hosts import Hosts
from resolver.download.part import discard_part
from resolver.download.piece_log import PieceLog, log_path, read_log
from resolver.download.pieces import Pieces, Range, Ranges, Segment

MB = 1 << 20

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(ranges)
def test_ranges_are_the_set_of_their_bytes(pairs: list[Range]) -> None:
    held = Ranges(pairs)
    expected = {byte for first, end in pairs for byte in range(first, end)}
    assert {byte for first, end in held for byte in range(first, end)} == expected
    assert held.count == len(expected)
    assert {byte for first, end in held.gaps(60) for byte in range(first, end)} == set(range(60)) - expected
    assert all(one[1] < other[0] for one, other in zip(list(held), list(held)[1:], strict=False))
    assert held.front == next(byte for byte in range(61) if byte not in expected)


class Fetching(RuleBasedStateMachine):
    """Workers who take, fetch at any pace, fall behind, give up and come back, in any order."""

    @initialize(size=st.integers(1, 40 * MB), done=st.lists(st.integers(0, 40 * MB), max_size=6))
    def begin(self, size: int, done: list[int]) -> None:
        cuts = sorted(min(cut, size) for cut in done)
        kept = list(zip(cuts[::2], cuts[1::2], strict=False))
        self.pieces = Pieces(size, kept)
        self.size = size
        self.written = Ranges(kept)
        self.now = 0.0
        # Segment and position of each worker.
        self.workers: list[tuple[Segment, int]] = []

    @rule(seconds=st.floats(0, 10))
    def take(self, seconds: float) -> None:
        self.now += seconds
        promised = self.pieces.needs_help(self.now)
        segment = self.pieces.take(self.now)
        assert promised == (segment is not None)
        if segment is not None:
            assert segment.left > 0
            self.workers.append((segment, segment.claimed))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), count=st.integers(1, 6 * MB))
    def fetch(self, data: st.DataObject, count: int) -> None:
        index = data.draw(st.integers(0, len(self.workers) - 1))
        segment, position = self.workers[index]
        first, end = self.pieces.claim(segment, position, count)
        assert first <= end
        if first < end:
            assert position <= first
            assert end <= position + count
            before = self.written.count
            self.written.add(first, end)
            assert self.written.count == before + end - first, "no byte is written twice"
            self.pieces.wrote(first, end)
            self.workers[index] = segment, position + count
        if first >= end or position + count >= segment.end:
            self.pieces.leave(segment)
            del self.workers[index]

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.workers) - 1))
        self.pieces.leave(self.workers.pop(index)[0])

    @invariant()
    def what_is_told_is_so(self) -> None:
        if hasattr(self, "pieces"):
            assert self.pieces.received == self.written.count
            assert self.pieces.front == self.written.front
            assert self.pieces.is_complete == (self.written.count == self.size)
            assert self.pieces.done == list(self.written)

    def teardown(self) -> None:
        """Whatever happened before, one good worker is enough to end it."""
        if not hasattr(self, "pieces"):
            return
        for segment, _ in self.workers:
            self.pieces.leave(segment)
        while (segment := self.pieces.take(self.now)) is not None:
            first, end = self.pieces.claim(segment, segment.claimed, segment.left)
            self.pieces.wrote(first, end)
            self.pieces.leave(segment)
        assert self.pieces.is_complete


Fetching.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestFetching = Fetching.TestCase


def write(pieces: Pieces, segment: Segment, count: int) -> None:
    pieces.wrote(*pieces.claim(segment, segment.claimed, count))


def take(pieces: Pieces, now: float) -> Segment:
    segment = pieces.take(now)
    assert segment is not None
    return segment


def test_the_front_is_handed_out_first() -> None:
    pieces = Pieces(64 * MB, [(8 * MB, 16 * MB)], piece=4 * MB)
    given_out = [take(pieces, 0) for _ in range(4)]
    assert [(s.claimed, s.end) for s in given_out] == [
        (0, 4 * MB), (4 * MB, 8 * MB), (16 * MB, 20 * MB), (20 * MB, 24 * MB),
    ]  # fmt: skip


def test_who_has_nothing_left_takes_half_of_what_takes_longest() -> None:
    pieces = Pieces(16 * MB, piece=8 * MB)
    fast, slow = take(pieces, 0), take(pieces, 0)
    write(pieces, fast, 6 * MB)
    write(pieces, slow, 2 * MB)
    thief = take(pieces, 1)
    assert (slow.claimed, slow.end) == (10 * MB, 13 * MB)
    assert (thief.claimed, thief.end) == (13 * MB, 16 * MB)
    assert (fast.claimed, fast.end) == (6 * MB, 8 * MB)


def test_what_is_done_soon_is_not_asked_for_again() -> None:
    pieces = Pieces(8 * MB, piece=8 * MB)
    segment = take(pieces, 0)
    write(pieces, segment, 7 * MB)
    assert pieces.take(1) is None, "the last megabyte comes within a seventh of a second"
    assert pieces.take(5) is not None, "it did not"


def test_one_who_is_far_slower_is_overtaken_before_new_pieces_are_begun() -> None:
    pieces = Pieces(64 * MB, piece=4 * MB)
    stuck, one, other = (take(pieces, 0) for _ in range(3))
    for segment in (one, other):
        write(pieces, segment, 3 * MB)
    assert take(pieces, 1).claimed == 12 * MB, "not yet: it may only have begun late"
    racer = take(pieces, 3)
    assert racer is stuck
    assert pieces.claim(racer, 0, MB) == (0, MB)
    first, end = pieces.claim(stuck, 0, 10)
    assert first == end, "who is behind writes nothing"


def test_silent_ones_are_raced_again_but_not_for_ever() -> None:
    pieces = Pieces(MB, piece=MB)
    taken = [pieces.take(10.0 * number) for number in range(6)]
    halves = [segment for segment in taken if segment is not None]
    assert 2 <= len(halves) <= 8


# --- the log --------------------------------------------------------------------------------------

SIZE = 1000


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "x.part"
    path.write_bytes(bytes(SIZE))
    return path


def written(part: Path, *known: Range, kept: list[Range] | None = None) -> PieceLog:
    log = PieceLog(part, SIZE)
    log.begin(kept or [])
    for first, end in known:
        log.wrote(first, end)
    return log


def test_what_was_written_down_is_read_again(part: Path) -> None:
    written(part, (100, 200), (300, 400), (200, 300), kept=[(0, 50)]).close()
    assert read_log(part, SIZE) == [(0, 50), (100, 400)]


def test_a_new_log_replaces_the_old_one(part: Path) -> None:
    written(part, (0, 500)).close()
    written(part, (10, 20)).close()
    assert read_log(part, SIZE) == [(10, 20)]
    assert sorted(path.name for path in part.parent.iterdir()) == ["x.part", "x.pieces"]


@settings(max_examples=60)
@given(cut=st.integers(0, 24 * 4), flip=st.integers(0, 24 * 4 - 1))
def test_a_torn_or_damaged_log_says_nothing_that_is_not_so(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    part = tmp_path_factory.mktemp("log") / "x.part"
    part.write_bytes(bytes(SIZE))
    known = [(0, 100), (200, 300), (400, 500), (600, 700)]
    written(part, *known).close()
    text = log_path(part).read_bytes()
    head = text.index(b"\n") + 1
    log_path(part).write_bytes(text[: head + cut])
    assert read_log(part, SIZE) == known[: cut // 24]
    damaged = bytearray(text)
    damaged[head + flip] ^= 1
    log_path(part).write_bytes(damaged)
    found = read_log(part, SIZE)
    # The last four bytes of a record say nothing.
    assert found == (known if flip % 24 >= 20 else known[: flip // 24])


def test_after_a_restart_of_the_machine_only_what_was_synced_counts(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written(part, (0, 100), (200, 300))
    count = log.count
    log.wrote(300, 400)  # While the part is being synced.
    log.mark(count)
    log.flush()
    log.wrote(500, 600)
    log.close()
    assert read_log(part, SIZE) == [(0, 100), (200, 400), (500, 600)]
    monkeypatch.setattr("resolver.download.piece_log.boot_id", lambda: "another")
    assert read_log(part, SIZE) == [(0, 100), (200, 300)]


def test_what_could_not_be_synced_does_not_count_within_this_boot_either(part: Path) -> None:
    log = written(part, (0, 100), (200, 300))
    log.mark(log.count)
    log.wrote(300, 400)
    log.doubt()
    log.wrote(500, 600)
    log.close()
    assert read_log(part, SIZE) == [(0, 100), (200, 300), (500, 600)]
    log = written(part, (0, 100))
    log.doubt()
    log.close()
    assert read_log(part, SIZE) == []


def test_a_log_counts_only_for_a_part_of_its_size(part: Path) -> None:
    assert read_log(part, SIZE) is None
    written(part, (0, 100)).close()
    assert read_log(part, SIZE + 1) is None
    os.truncate(part, 999)
    assert read_log(part, SIZE) is None
    os.truncate(part, SIZE)
    assert read_log(part, SIZE) == [(0, 100)]
    for nonsense in (b"", b"{}\n", b"[1]\n", b"\xff\xfe\n", log_path(part).read_bytes()[:10]):
        log_path(part).write_bytes(nonsense)
        assert read_log(part, SIZE) is None


def test_the_log_goes_with_its_part(tmp_path: Path) -> None:
    part = tmp_path / ".model-resolver" / ".git" / "x.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(SIZE))
    written(part, (0, 100)).close()
    discard_part(part)
    assert list(tmp_path.iterdir()) == []


# --- how many connections -------------------------------------------------------------------------


def run(governor: Governor, rate: float, seconds: float, start: float = 0.0, received: float = 0.0) -> float:
    """Let time pass with ``rate`` bytes a second for each connection; bytes received in the end."""
    for step in range(int(seconds * 10)):
        received += rate * governor.wanted / 10
        governor.observe(start + step / 10, int(received))
    return received


def test_connections_that_bring_more_are_added_up_to_the_limit() -> None:
    governor = Governor(16)
    assert governor.wanted == 2
    run(governor, MB, 3)
    assert governor.wanted == 16


def test_where_each_connection_is_held_back_all_are_opened_at_once() -> None:
    governor = Governor(16)
    received, seen = 0.0, []
    for step in range(20):
        received += MB * governor.wanted / 20
        governor.observe(step / 20, int(received))
        seen.append(governor.wanted)
    assert list(dict.fromkeys(seen)) == [2, 4, 16]
    assert seen[10] == 16, "within half a second"


def test_connections_that_bring_nothing_are_not_kept() -> None:
    governor = Governor(16)
    received = 0
    for step in range(30):
        received += 100 * MB  # Whatever the number.
        governor.observe(step / 10, received)
    assert governor.wanted == 2


def test_a_file_that_is_not_alone_begins_with_one_connection() -> None:
    hosts = Hosts(4)
    assert hosts.may_connect("a.example", first=True)
    assert hosts.are_idle, "asking opens nothing"
    assert Governor(16, alone=hosts.are_idle).wanted == 2
    hosts.opened("a.example")
    assert Governor(16, alone=hosts.are_idle).wanted == 1
    hosts.closed("a.example")
    assert hosts.are_idle


def test_one_connection_may_be_all_that_is_allowed() -> None:
    governor = Governor(1)
    run(governor, MB, 3)
    assert governor.wanted == 1


def test_a_server_in_trouble_gets_fewer() -> None:
    governor = Governor(16)
    received = run(governor, MB, 3)
    governor.retreat()
    assert governor.wanted == 8
    governor.retreat()
    run(governor, MB, 10, 3, received)
    assert governor.wanted == 4, "and is left in peace for a while"


# --- hosts ----------------------------------------------------------------------------------------


def test_all_downloads_share_the_connections_to_a_host() -> None:
    hosts = Hosts(2)
    assert hosts.may_connect("a", first=False)
    hosts.opened("a")
    hosts.opened("a")
    assert not hosts.may_connect("a", first=False)
    assert hosts.may_connect("a", first=True), "nobody waits for ever behind others"
    assert hosts.may_connect("b", first=False)
    hosts.closed("a")
    assert hosts.may_connect("a", first=False)


def test_a_host_that_keeps_failing_is_left_alone_then_tried_by_one() -> None:
    hosts = Hosts(16, rest=0.05)
    for _ in range(5):
        hosts.failed("a")
    assert hosts.may_connect("a", first=True)
    hosts.failed("a")
    assert not hosts.may_connect("a", first=True)
    assert 0 < hosts.rest("a") <= 0.05
    time.sleep(0.06)
    assert hosts.may_connect("a", first=True)
    hosts.opened("a")
    assert not hosts.may_connect("a", first=False)
    hosts.worked("a")
    assert hosts.may_connect("a", first=False)


def test_a_host_that_asks_to_wait_is_waited_for() -> None:
    hosts = Hosts(16)
    hosts.failed("a", 60)
    assert not hosts.may_connect("a", first=True)
    assert 59 < hosts.rest("a") <= 60
