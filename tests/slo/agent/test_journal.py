"""The journal: both or neither, in order, within its bound, one agent at a time."""

import sqlite3

import pytest

from gatewayx.slo.agent.delta import (
    Advance,
    CounterLast,
    HistogramLast,
    LastValues,
    advance,
)
from gatewayx.slo.agent.journal import Journal, JournalError
from gatewayx.slo.agent.readings import CounterReading, HistogramReading, Ingress, Scrape, Series

INF = float("inf")
SUBJECT = Ingress("k", "200", "GET")


def scrape(value, *, histogram=None):
    readings = [CounterReading(Series("a{}", "t"), SUBJECT, value)]
    if histogram:
        readings.append(
            HistogramReading(Series("h{'é\"}", "t"), SUBJECT, (0.5, INF), histogram, 1.25)
        )
    return Scrape(tuple(readings), frozenset(), 0)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path, "name", 10_000) as opened:
        yield opened


def step(journal, value, at):
    return advance(journal.last_values(), scrape(value), at)


def test_last_values_come_back_as_they_were(tmp_path):
    with Journal(tmp_path, "name", 1000) as journal:
        assert journal.last_values() == LastValues()
        first = advance(LastValues(), scrape(5, histogram=(1, 3)), 100.5)
        journal.commit(first, None)
        agent_id = journal.agent_id
    with Journal(tmp_path, "renamed", 1000) as journal:
        assert journal.agent_id == agent_id
        assert journal.last_values() == first.last
        second = advance(journal.last_values(), Scrape((), frozenset(), 2), 115.0)
        journal.commit(second, None)
        assert journal.last_values() == second.last
        assert second.last.illegible_at == 115.0


def test_absent_and_unknown_states_come_back(journal):
    states = {
        Series("a", "t"): CounterLast(None),
        Series("b", "t"): CounterLast(2**53 - 1, absent_since=1.5),
        Series("c", "t"): HistogramLast((INF,), (4,), None, absent_since=2.5),
    }
    journal.commit(
        Advance((), LastValues(1.0, None, states), states, frozenset(), True, 0, 0), None
    )
    assert journal.last_values() == LastValues(1.0, None, states)
    gone = frozenset([Series("a", "t")])
    journal.commit(Advance((), LastValues(2.0), {}, gone, False, 0, 0), None)
    assert journal.last_values().series.keys() == states.keys() - gone


def test_snapshots_leave_in_order_and_only_when_acknowledged(tmp_path):
    with Journal(tmp_path, "name", 10_000) as journal:
        for number in range(1, 4):
            assert journal.next_seq == number
            journal.commit(step(journal, number, float(number)), b"snapshot %d" % number)
        assert journal.oldest().body == b"snapshot 1"
        assert journal.oldest().seq == 1
        journal.acknowledge(1)
        journal.acknowledge(1)
    with Journal(tmp_path, "name", 10_000) as journal:
        assert (journal.oldest().seq, journal.buffered_count, journal.next_seq) == (2, 2, 4)
        journal.acknowledge(2)
        journal.acknowledge(3)
        assert (journal.oldest(), journal.buffered_count, journal.buffered_bytes) == (None, 0, 0)
        assert journal.next_seq == 4


def test_the_oldest_go_when_the_buffer_is_full(tmp_path):
    with Journal(tmp_path, "name", 100) as journal:
        dropped = [
            journal.commit(step(journal, number, float(number)), bytes([number]) * 10)
            for number in range(1, 21)
        ]
        assert sum(dropped) == 20 - journal.buffered_count
        assert 0 < journal.buffered_bytes <= 100
        assert journal.oldest().seq == 20 - journal.buffered_count + 1


def test_a_snapshot_larger_than_the_buffer_is_dropped_alone(tmp_path):
    with Journal(tmp_path, "name", 0) as journal:
        assert journal.commit(step(journal, 1, 1.0), b"x") == 1
        assert (journal.buffered_count, journal.buffered_bytes, journal.next_seq) == (0, 0, 2)


def test_a_commit_that_fails_changes_nothing(journal, tmp_path):
    journal.commit(step(journal, 1, 1.0), b"one")
    before = journal.last_values()
    other = sqlite3.connect(tmp_path / "agent.db")
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON buffer BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(sqlite3.Error, match="disk full"):
        journal.commit(step(journal, 2, 2.0), b"two")
    assert (journal.last_values(), journal.next_seq, journal.buffered_count) == (before, 2, 1)
    other.execute("DROP TRIGGER full")
    other.close()
    journal.commit(step(journal, 2, 2.0), b"two")
    assert (journal.next_seq, journal.buffered_count) == (3, 2)


def test_only_one_agent_uses_a_directory(tmp_path):
    with (
        Journal(tmp_path, "name", 1000),
        pytest.raises(JournalError, match="another agent uses it"),
    ):
        Journal(tmp_path, "name", 1000)
    Journal(tmp_path, "name", 1000).close()


def test_a_damaged_file_is_set_aside_and_numbers_are_never_reused(tmp_path):
    with Journal(tmp_path, "name", 1000) as journal:
        journal.commit(step(journal, 1, 1.0), b"one")
        lost = journal.agent_id
    (tmp_path / "agent.db").write_bytes(b"not a database, not at all" * 100)
    with Journal(tmp_path, "name", 1000) as journal:
        assert journal.agent_id != lost
        assert (journal.next_seq, journal.last_values()) == (1, LastValues())
    assert (tmp_path / "agent.db.damaged").exists()


def test_a_directory_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="state directory"):
        Journal(tmp_path / "file" / "state", "name", 1000)
