"""What the launcher was told and did: the rules P3 to P9 of safety.md as sentences."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.unit.launcher.desk import Desk, running, signal_to, start, steer, stop, view
from wq.core.job import HostName, JobId, Outcome, OutcomeKind
from wq.launcher.ledger import MOST_REBOOTS, MOST_REPLACED, Phase, ended, outcome_of


class TestP3TheIntentComesFirst:
    def test_a_start_is_sent_when_all_its_nodes_are_connected(self) -> None:
        desk = Desk(up="a")
        assert desk.ordered(start(1, "a:0")) == ["links a", "start 1.1"]

    def test_the_intent_is_stored_with_the_order_so_before_it_is_carried_out(self) -> None:
        desk = Desk(up="a")
        desk.ordered(start(1, "a:0"))
        assert desk.stored == ["t1"]
        assert (desk.phase(), desk.entry().attempt) == ("intended", 1)

    def test_a_node_that_is_not_connected_yet_is_waited_for(self) -> None:
        desk = Desk()
        assert desk.ordered(start(1, "a:0 b:0")) == ["links a b"]
        assert desk.up("a") == []
        assert desk.up("b") == ["start 1.1"]

    def test_after_a_restart_the_node_is_asked_first(self) -> None:
        desk = running().restarted()
        assert desk.up("a") == ["a: query 1.1"]

    def test_and_only_about_an_attempt_that_was_intended(self) -> None:
        desk = Desk().restarted()
        assert desk.up("a") == []

    def test_an_intent_of_an_earlier_launcher_is_never_simply_sent(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        again = desk.restarted()
        assert again.up("a") == ["a: query 1.1"]
        assert again.ordered(start(1, "a:0")) == ["links a"]


class TestP4OneStartForAnAttempt:
    def test_a_repeated_order_starts_nothing(self) -> None:
        desk = Desk(up="a")
        desk.ordered(start(1, "a:0"))
        for _ in range(100):
            assert desk.ordered(start(1, "a:0")) == ["links a"]

    def test_a_repeated_order_for_what_runs_is_answered_with_its_state(self) -> None:
        assert running().ordered(start(1, "a:0")) == ["tell started 1.1"]

    def test_nor_does_a_node_that_comes_up_twice(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        assert desk.up("a") == ["start 1.1"]
        desk.failed("a")
        assert desk.up("a") == ["a: query 1.1"]

    def test_an_order_with_a_lower_number_starts_nothing(self) -> None:
        desk = Desk(up="a b")
        desk.ordered(start(1, "a:0", attempt=2))
        assert desk.ordered(start(1, "b:0", attempt=1)) == ["links a"]
        assert desk.entry().main_host == "a"


class TestP5AQuestionIsATombstone:
    def test_what_the_node_never_saw_is_taken_back_and_the_tombstone_acknowledged(self) -> None:
        desk = running().restarted()
        desk.entry().boots = {}
        desk.up("a")
        assert desk.state(view("1.1", "never")) == ["a: ack 1.1", "tell taken back 1.1"]
        assert (desk.phase(), desk.stored) == ("waiting", [])  # the next launcher would ask again

    def test_and_may_be_started_again_as_the_next_attempt(self) -> None:
        desk = running().restarted()
        desk.entry().boots = {}
        desk.up("a")
        desk.state(view("1.1", "never"))
        assert desk.ordered(start(1, "a:0", attempt=2)) == ["links a", "start 1.2"]

    def test_what_had_started_and_is_not_known_any_more_is_lost_and_not_run_again(self) -> None:
        desk = running()
        desk.failed("a")
        assert desk.up("a") == ["a: query 1.1"]
        assert desk.state(view("1.1", "never")) == ["a: ack 1.1", "finished 1.1"]
        assert desk.entry().outcome == Outcome(kind=OutcomeKind.LOST, message="the node no longer knows it")


class TestANodeIsRebooted:
    def test_what_ran_there_is_over_and_is_to_run_again(self) -> None:
        desk = running().restarted()
        desk.up("a", boot="boot 2")
        assert desk.state(view("1.1", "never")) == ["a: ack 1.1", "finished 1.1"]
        assert desk.entry().outcome == Outcome(kind=OutcomeKind.LOST, message="a was rebooted while it ran")
        assert desk.entry().again

    def test_the_next_attempt_is_started_and_keeps_the_output_of_the_first(self) -> None:
        desk = rebooted()
        assert desk.ordered(start(1, "a:0", attempt=2)) == ["a: ack 1.1", "links a", "start 1.2"]
        assert desk.entry().output == "/home/anze/job1.2.wqlog"
        assert (desk.entry().again, desk.entry().outcome) == (False, None)

    def test_it_is_not_run_again_if_its_user_does_not_want_that(self) -> None:
        desk = running()
        desk.entry().task = replace(desk.entry().task, requeue=False)
        assert not rebooted(desk).entry().again

    def test_nor_if_it_belongs_to_a_client(self) -> None:
        desk = running()
        desk.entry().task = replace(desk.entry().task, foreground=True)
        assert not rebooted(desk).entry().again

    def test_nor_if_that_happens_again_and_again(self) -> None:
        desk = running()
        for attempt in range(2, MOST_REBOOTS + 2):
            assert rebooted(desk, attempt - 1).entry().again
            desk.ordered(start(1, "a:0", attempt=attempt))
        rebooted(desk, MOST_REBOOTS + 1)
        assert not desk.entry().again
        assert "6 times" in str(desk.entry().outcome)

    def test_an_end_that_it_came_to_before_counts(self) -> None:
        desk = running()
        desk.failed("a")
        desk.up("a", view("1.1", "ended", end={"exit": 3}), boot="boot 2")
        assert (desk.entry().again, desk.entry().outcome) == (False, Outcome(kind=OutcomeKind.EXITED, exit_status=3))

    @pytest.mark.parametrize(("end", "again"), [({"exit": 1}, True), ({"signal": 6}, True), ({"exit": 0}, False)])
    def test_an_mpi_job_that_lost_another_of_its_nodes_is_run_again_unless_it_succeeded(
        self, end: dict[str, int], again: bool
    ) -> None:
        desk = running("a:0 b:0")
        desk.ledger.rank_started(desk.entry(), "1.1/7.1", HostName("b"))
        desk.failed("b")
        desk.ended(**end)
        desk.up("b", boot="boot 2")
        assert desk.did(desk.ledger.rank_ended(desk.entry(), "1.1/7.1", HostName("b"), {}))[-1] == "finished 1.1"
        assert desk.entry().again is again

    def test_the_server_is_told_that_it_is_to_run_again(self) -> None:
        report = ended(rebooted().entry())
        assert (report.attempt, report.again) == (1, True)


class TestANodeWithoutRoom:
    def test_a_start_that_it_refused_is_taken_back_and_the_node_avoided_for_a_while(self) -> None:
        desk = running()
        desk.entry().started = False
        told = desk.state(view("1.1", "never", why="no room in the spool"))
        assert told == ["a: ack 1.1", "tell taken back 1.1 because of a: no room in the spool"]


class TestRetries:
    """An attempt that failed is not the last one, if its user wants that."""

    def desk(self, retries: int = 2, *on: int | str, foreground: bool = False) -> Desk:
        desk = Desk(up="a", foreground=foreground)
        desk.entry().task = replace(desk.entry().task, retries=retries, retry_wait_s=60.0, retry_on=on)
        desk.ordered(start(1, "a:0"))
        desk.started()
        return desk

    def again(self, desk: Desk, **end: object) -> bool:
        """Whether there is another attempt after this end."""
        desk.ended(1, **end)
        return ended(desk.entry()).again

    def test_some_times_with_a_pause_and_each_with_output_of_its_own(self) -> None:
        desk = self.desk()
        assert self.again(desk, exit=3)
        report = ended(desk.entry())
        assert (report.wait_s, report.outcome.message) == (60.0, "exit status 3; another attempt (1 of 2 retries)")
        desk.ordered(start(1, "a:0", attempt=2))
        assert desk.entry().output == "/home/anze/job1.2.wqlog"
        desk.started()
        assert self.again(desk, signal=9)
        desk.ordered(start(1, "a:0", attempt=3))
        desk.started()
        assert not self.again(desk, exit=3)
        assert ended(desk.entry()).outcome == Outcome(kind=OutcomeKind.EXITED, exit_status=3)

    def test_not_after_success_nor_when_it_was_to_end(self) -> None:
        assert not self.again(self.desk(), exit=0)
        desk = self.desk()
        desk.ordered(stop(1))
        assert not self.again(desk, signal=15)
        assert not self.again(self.desk(foreground=True), exit=3)

    @pytest.mark.parametrize(
        ("on", "end", "again"),
        [
            ((3, 4), {"exit": 3}, True),
            ((3, 4), {"exit": 5}, False),
            ((3,), {"signal": 9}, False),
            (("signal",), {"signal": 9}, True),
            (("signal",), {"exit": 3}, False),
            (("node",), {"error": "no such directory"}, True),
            (("node",), {"lost": "nobody knows"}, True),
            (("node",), {"exit": 1}, False),
        ],
    )
    def test_only_after_the_failures_that_were_named(
        self, on: tuple[int | str, ...], end: dict[str, object], again: bool
    ) -> None:
        assert self.again(self.desk(2, *on), **end) == again

    def test_the_next_launcher_goes_on_counting(self) -> None:
        desk = self.desk(1)
        assert self.again(desk, exit=3)
        desk = desk.restarted()
        assert ended(desk.entry()).again
        desk.up("a")
        desk.ordered(start(1, "a:0", attempt=2))
        desk.started()
        assert not self.again(desk, exit=3)

    def test_the_end_of_such_a_job_is_stored_here(self) -> None:
        desk = self.desk()
        assert not desk.ledger.passes_through(desk.entry())


def rebooted(desk: Desk | None = None, attempt: int = 1) -> Desk:
    """Job 1 was running when its node was rebooted, which is back."""
    desk = desk or running()
    desk.up("a", boot=f"boot {attempt + 1}")
    desk.entry().boots = {HostName("a"): f"boot {attempt}"}
    desk.entry().maybe_sent = True
    desk.state(view(f"1.{attempt}", "never"))
    return desk


class TestP6ALostConnectionIsNoEnd:
    def test_what_was_sent_is_unknown_and_waits(self) -> None:
        desk = running()
        assert desk.failed("a", "the connection is lost") == []
        assert (desk.phase(), desk.entry().main_end) == ("intended", None)

    def test_what_was_never_sent_is_taken_back_and_the_node_is_named(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        assert desk.failed("a", "a refuses your key") == ["tell taken back 1.1 because of a: a refuses your key"]

    def test_one_node_of_several_is_enough(self) -> None:
        desk = Desk(up="a")
        desk.ordered(start(1, "a:0 b:0"))
        assert desk.failed("b", "no") == ["tell taken back 1.1 because of b: no"]
        assert desk.up("b") == []

    def test_a_node_that_fails_has_nothing_to_do_with_jobs_elsewhere(self) -> None:
        desk = Desk(2, up="b")
        desk.ordered(start(1, "a:0"))
        desk.ordered(start(2, "b:0"))
        assert desk.failed("b") == []
        assert desk.phase(1) == "intended"

    def test_on_the_new_link_it_goes_on_as_if_nothing_had_happened(self) -> None:
        desk = running()
        desk.failed("a")
        assert desk.up("a", view("1.1", "running")) == []

    def test_a_start_that_was_not_heard_of_is_heard_of_then(self) -> None:
        desk = running().restarted()
        assert desk.up("a", view("1.1", "running")) == ["tell started 1.1"]

    def test_and_an_end_that_was_not_heard_of(self) -> None:
        desk = running()
        desk.failed("a")
        assert desk.up("a", view("1.1", "ended", end={"exit": 7})) == ["finished 1.1"]
        assert desk.entry().outcome == Outcome(kind=OutcomeKind.EXITED, exit_status=7)

    @pytest.mark.parametrize("state", ["intent", "sweeping"])
    def test_half_way_is_neither_a_start_nor_an_end(self, state: str) -> None:
        assert running().restarted().up("a", view("1.1", state)) == []


class TestP7CoresAreFreeOnEvidence:
    def test_a_stop_waits_for_the_end(self) -> None:
        desk = running()
        assert desk.ordered(stop(1)) == ["links a", "a: stop 1.1 5 s"]
        assert desk.phase() == "intended"
        assert desk.ended(signal=15) == ["finished 1.1"]

    def test_a_stop_of_what_was_never_sent_takes_it_back(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        assert desk.ordered(stop(1)) == ["tell taken back 1.1"]
        assert desk.up("a") == []

    def test_a_recall_is_of_what_was_never_sent(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        assert desk.ordered(replace(stop(1), unsent=True)) == ["tell taken back 1.1"]
        assert desk.up("a") == []
        assert running().ordered(replace(stop(1), unsent=True)) == []

    def test_a_stop_is_repeated_on_the_new_link(self) -> None:
        desk = running()
        desk.failed("a")
        assert desk.ordered(stop(1, grace_s=3.0)) == ["links a", "a: stop 1.1 3 s"]
        assert desk.up("a", view("1.1", "running")) == ["a: stop 1.1 3 s"]

    def test_a_stop_of_what_nobody_knows_says_that_it_never_ran(self) -> None:
        assert Desk(0).ordered(stop(9)) == ["tell taken back 9.1"]

    def test_a_stop_that_overtook_its_start_says_so_too(self) -> None:
        assert Desk().ordered(stop(1, attempt=1)) == ["tell taken back 1.1"]

    def test_a_stop_of_what_is_over_is_answered_with_its_end(self) -> None:
        desk = running()
        desk.ended(exit=3)
        assert desk.ordered(stop(1)) == ["tell ended 1.1 exited 3"]


class TestP8LateNewsIsKnownAsLate:
    def test_an_attempt_is_known_by_its_full_name(self) -> None:
        desk = running()
        assert desk.ledger.find("1.1") is desk.entry()
        assert desk.ledger.find("1.1/7.1") is desk.entry()
        for name in ("1.2", "2.1", "1", "", "x.1", "²².1", "1.1.1", "-1.1"):
            assert desk.ledger.find(name) is None

    def test_an_earlier_attempt_that_still_runs_is_ended(self) -> None:
        desk = Desk(up="a")
        desk.ordered(start(1, "a:0", attempt=2))
        desk.failed("a")
        assert "a: stop 1.1 2 s" in desk.up("a", view("1.1", "running"), view("1.2", "running"))

    @pytest.mark.parametrize("state", ["ended", "never"])
    def test_one_that_is_over_is_acknowledged(self, state: str) -> None:
        assert Desk().up("a", view("7.1", state)) == ["a: ack 7.1"]

    def test_a_stop_of_an_earlier_attempt_is_not_obeyed(self) -> None:
        desk = Desk(up="a")
        desk.ordered(start(1, "a:0", attempt=2))
        desk.started()
        assert desk.ordered(stop(1, attempt=1)) == ["tell started 1.2"]

    def test_a_second_end_changes_nothing(self) -> None:
        desk = running()
        desk.ended(exit=3)
        assert desk.ended(exit=4) == []
        assert desk.entry().outcome == Outcome(kind=OutcomeKind.EXITED, exit_status=3)


class TestP9TheEndIsToldUntilTheServerHasIt:
    def test_until_then_its_node_keeps_it(self) -> None:
        desk = running()
        assert desk.ended(exit=3) == ["finished 1.1"]
        assert (desk.phase(), desk.stored) == ("ended", [])
        assert not desk.entry().node_done

    def test_if_the_server_is_away_it_is_stored_before_anything_follows_from_it(self) -> None:
        desk = running()
        desk.ledger.server_away = True
        assert desk.ended(exit=3) == ["finished 1.1"]
        assert (desk.phase(), desk.stored) == ("ended", ["t1"])

    def test_or_when_it_goes_away(self) -> None:
        desk = running()
        desk.ended(exit=3)
        assert desk.did(desk.ledger.server_gone()) == ["finished 1.1"]
        assert desk.stored == ["t1"]
        assert desk.ledger.server_gone() == []

    def test_that_of_a_clients_job_is_stored_at_once(self) -> None:
        desk = Desk(up="a", foreground=True)
        desk.ordered(start(1, "a:0"))
        assert desk.ended(exit=3) == ["finished 1.1"]
        assert (desk.phase(), desk.stored) == ("ended", ["t1"])

    def test_after_a_restart_it_is_still_known(self) -> None:
        desk = running()
        desk.ledger.server_away = True
        desk.ended(exit=3)
        again = desk.restarted()
        assert again.ordered(start(1, "a:0")) == ["tell ended 1.1 exited 3"]

    def test_it_is_forgotten_when_both_the_server_and_the_node_have_let_go(self) -> None:
        desk = running()
        desk.ended()
        assert not desk.entry().over
        desk.gone()
        assert not desk.entry().over
        desk.entry().node_done = True
        assert desk.entry().over

    def test_what_the_node_has_forgotten_is_done_there(self) -> None:
        desk = running()
        desk.ended()
        desk.failed("a")
        assert desk.up("a") == []
        assert desk.entry().node_done

    def test_what_the_node_still_has_is_brought_to_its_end_again(self) -> None:
        desk = running()
        desk.ended()
        again = desk.restarted()
        assert again.up("a", view("1.1", "ended")) == ["finished 1.1"]

    def test_a_job_that_never_started_is_over_when_the_server_says_so(self) -> None:
        desk = Desk()
        desk.gone()
        assert (desk.phase(), desk.entry().over) == ("ended", True)

    def test_to_drop_it_is_stored(self) -> None:
        desk = Desk()
        desk.ledger.drop(desk.entry())
        desk.note()
        assert desk.stored == ["t1 gone"]
        assert (desk.ledger.entries, desk.ledger.by_id) == ({}, {})

    def test_what_was_dropped_is_not_stored_again(self) -> None:
        desk = Desk()
        entry = desk.entry()
        desk.ledger.drop(entry)
        desk.note()
        desk.ledger.change(entry)
        desk.ledger.drop(entry)
        assert desk.ledger.dirty == {}


class TestOrders:
    def test_a_job_that_nobody_knows_is_lost(self) -> None:
        assert Desk(0).ordered(start(9, "a:0")) == ["tell ended 9.1 lost"]

    def test_an_id_that_it_is_about_to_learn_is_no_stranger(self) -> None:
        desk = Desk(0)
        desk.add(None, token="t")
        assert desk.ordered(start(9, "a:0")) == []
        desk.ledger.accepted("t", [9])
        assert desk.ordered(start(9, "a:0")) == ["links a"]

    def test_ids_go_to_the_entries_of_their_submission_in_order(self) -> None:
        desk = Desk(0)
        entries = [desk.add(None, token="t", index=index) for index in range(3)]
        assert desk.ledger.accepted("t", [5, 6, 7]) == entries
        assert [entry.id for entry in entries] == [5, 6, 7]
        assert [desk.ledger.by_id[JobId(number)] for number in (5, 6, 7)] == entries

    def test_the_next_attempt_forgets_all_of_the_last(self) -> None:
        desk = running("a:0")
        desk.ordered(stop(1))
        desk.failed("a")
        desk.ordered(start(1, "b:1", attempt=2))
        entry = desk.entry()
        assert (entry.att, entry.main_host, entry.started, entry.stop_grace_s) == ("1.2", "b", False, None)
        assert (entry.main_end, entry.live_ranks, entry.rank_hosts) == (None, {}, frozenset())


class TestDeclaredLost:
    """The owner's word freed the cores of an attempt that this launcher believes to run."""

    def test_what_is_left_of_it_is_ended_where_it_can_be_reached(self) -> None:
        desk = running("a:0 b:0")
        desk.ledger.rank_started(desk.entry(), "1.1/7.1", HostName("b"))
        actions = desk.ordered(start(1, "c:0", attempt=2))
        assert actions == ["a: stop 1.1 2 s", "b: stop 1.1/7.1 2 s", "links c"]

    @pytest.mark.parametrize("more", [{"requeue": False}, {"foreground": True}], ids=str)
    def test_a_job_that_is_to_run_once_is_not_run_again_on_anybodys_word(self, more: dict[str, bool]) -> None:
        desk = running()
        desk.entry().task = replace(desk.entry().task, **more)
        assert desk.ordered(start(1, "a:0", attempt=2)) == ["tell ended 1.2 lost"]
        assert desk.ended(exit=3) == ["finished 1.1"]

    def test_nor_is_any_job_again_and_again(self) -> None:
        desk = running()
        for attempt in range(2, MOST_REPLACED + 2):
            assert desk.ordered(start(1, "a:0", attempt=attempt))[-1] == f"start 1.{attempt}"
            desk = desk.restarted()
            desk.up("a")
        desk.entry().started = True
        for attempt in (MOST_REPLACED + 2, 100):
            assert desk.ordered(start(1, "a:0", attempt=attempt)) == [f"tell ended 1.{attempt} lost"]
        assert desk.entry().attempt == MOST_REPLACED + 1

    def test_what_was_never_sent_leaves_nothing(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        assert desk.ordered(start(1, "b:0", attempt=2)) == ["links b"]

    def test_what_had_ended_in_truth_has_ended(self) -> None:
        desk = running()
        desk.ended(exit=3)
        assert desk.ordered(start(1, "b:0", attempt=2)) == ["tell ended 1.2 exited 3"]
        assert desk.entry().att == "1.1"

    def test_even_if_it_still_waited_for_word_of_its_other_nodes(self) -> None:
        desk = running("a:0 b:0")
        desk.ledger.rank_started(desk.entry(), "1.1/7.1", HostName("b"))
        desk.failed("b")
        desk.ended(exit=3)
        assert desk.phase() == "intended"
        assert desk.ordered(start(1, "c:0", attempt=2)) == ["tell ended 1.2 exited 3", "finished 1.1"]

    def test_a_job_that_is_over_for_the_server_is_not_started_later(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        desk.gone()
        assert desk.did(desk.ledger.stop(desk.entry(), 2.0)) == ["tell taken back 1.1"]
        desk.gone()
        assert (desk.up("a"), desk.entry().over) == ([], True)


class TestRanks:
    """MPI's processes on the other nodes of a job, which end with it."""

    def two_nodes(self) -> Desk:
        desk = running("a:0 b:0")
        desk.ledger.rank_started(desk.entry(), "1.1/7.1", HostName("b"))
        return desk

    def test_where_they_may_be_is_stored_before_they_are_started(self) -> None:
        desk = running("a:0 b:0")
        desk.ledger.rank_started(desk.entry(), "1.1/7.1", HostName("b"))
        desk.note()
        assert desk.stored == ["t1"]
        assert desk.entry().rank_hosts == {"b"}

    def test_they_end_with_the_job_and_the_job_with_them(self) -> None:
        desk = self.two_nodes()
        assert desk.ended(exit=3) == ["links b", "b: stop 1.1/7.1 1 s"]
        assert desk.phase() == "intended"
        ended = desk.did(desk.ledger.rank_ended(desk.entry(), "1.1/7.1", HostName("b"), {"exit": 0}))
        assert ended == ["b: ack 1.1/7.1", "finished 1.1"]

    def test_a_job_whose_ranks_are_over_ends_at_once(self) -> None:
        desk = self.two_nodes()
        desk.did(desk.ledger.rank_ended(desk.entry(), "1.1/7.1", HostName("b"), {"exit": 0}))
        assert desk.ended() == ["links b", "finished 1.1"]

    def test_a_job_without_ranks_asks_nobody(self) -> None:
        assert running("a:0 b:0").ended() == ["finished 1.1"]

    def test_a_node_out_of_sight_is_waited_for(self) -> None:
        desk = self.two_nodes()
        desk.failed("b")
        desk.ended()
        assert desk.phase() == "intended"
        assert desk.up("b", view("1.1/7.1", "running")) == ["b: stop 1.1/7.1 2 s"]
        assert desk.phase() == "intended"

    def test_after_a_restart_their_nodes_are_asked_what_is_left(self) -> None:
        desk = self.two_nodes().restarted()
        assert desk.up("a", view("1.1", "ended")) == ["links b"]
        assert desk.up("b", view("1.1/7.1", "running")) == ["b: stop 1.1/7.1 2 s"]
        assert desk.phase() == "intended"
        ended = desk.did(desk.ledger.rank_ended(desk.entry(), "1.1/7.1", HostName("b"), {"exit": 0}))
        assert ended == ["b: ack 1.1/7.1", "finished 1.1"]

    def test_and_if_nothing_is_left_the_job_ends(self) -> None:
        desk = self.two_nodes().restarted()
        desk.up("a", view("1.1", "ended"))
        assert desk.up("b") == ["finished 1.1"]

    def test_one_that_runs_while_the_job_runs_is_left_alone(self) -> None:
        desk = self.two_nodes().restarted()
        desk.up("a", view("1.1", "running"))
        assert desk.up("b", view("1.1/7.1", "running")) == []
        assert desk.entry().live_ranks == {"1.1/7.1": "b"}

    def test_one_that_ended_out_of_sight_keeps_its_end_until_it_is_told(self) -> None:
        desk = self.two_nodes()
        desk.failed("b")
        assert desk.up("b", view("1.1/7.1", "ended")) == []
        ended = desk.did(desk.ledger.rank_ended(desk.entry(), "1.1/7.1", HostName("b"), {"exit": 0}))
        assert ended == ["b: ack 1.1/7.1"]
        assert desk.ended()[-1] == "finished 1.1"

    def test_one_whose_start_was_lost_with_the_link_is_asked_for(self) -> None:
        desk = self.two_nodes()
        desk.failed("b")
        assert desk.up("b") == ["b: query 1.1/7.1"]

    def test_one_of_an_earlier_attempt_is_ended(self) -> None:
        desk = self.two_nodes()
        desk.ordered(start(1, "b:1", attempt=2))
        assert "b: stop 1.1/7.1 2 s" in desk.up("b", view("1.1/7.1", "running"))


class TestOutcomes:
    @pytest.mark.parametrize(
        ("end", "outcome"),
        [
            ({"exit": 3, "cpu_s": 1.5}, Outcome(kind=OutcomeKind.EXITED, exit_status=3, cpu_s=1.5)),
            ({"signal": 9}, Outcome(kind=OutcomeKind.SIGNALLED, signal=9)),
            ({"lost": "rebooted"}, Outcome(kind=OutcomeKind.LOST, message="rebooted")),
            ({"error": "no directory"}, Outcome(kind=OutcomeKind.FAILED, message="no directory")),
            ({}, Outcome(kind=OutcomeKind.FAILED, message="ended for no known reason")),
        ],
    )
    def test_are_what_the_shepherd_said(self, end: dict[str, object], outcome: Outcome) -> None:
        assert outcome_of(dict(end)) == outcome


class TestCost:
    def test_an_order_does_not_look_through_the_ledger(self) -> None:
        desk = Desk(1, up="a")
        looked = 0

        class Watched(dict[tuple[str, int, int | None], object]):
            def values(self) -> object:  # type: ignore[override]
                nonlocal looked
                looked += 1
                return super().values()

        desk.ledger.entries = Watched(desk.ledger.entries)  # type: ignore[assignment]
        desk.ordered(start(1, "a:0"))
        desk.started()
        desk.ordered(stop(1))
        desk.ended()
        desk.gone()
        assert looked == 0
        assert desk.ledger.by_id[JobId(1)].phase is Phase.ENDED


class TestATimeLimit:
    def test_of_a_running_attempt_is_changed_at_its_node(self) -> None:
        assert running().ordered(steer(1, 60.0)) == ["a: limit 1.1 60.0 s"]

    def test_only_once_however_often_it_is_ordered(self) -> None:
        desk = running()
        desk.ordered(steer(1, 60.0))
        assert desk.ordered(steer(1, 60.0)) == []

    def test_is_told_again_on_a_new_link(self) -> None:
        desk = running()
        desk.ordered(steer(1, 0.0))
        desk.failed("a")
        assert desk.up("a", view("1.1", "running")) == ["a: limit 1.1 None s"]

    def test_of_one_that_is_still_to_be_sent_goes_with_its_start(self) -> None:
        desk = Desk()
        desk.ordered(replace(start(1, "a:0"), time_s=30.0))
        assert desk.entry().limit_s == 30.0
        assert desk.ordered(steer(1, 60.0)) == []
        assert desk.up("a") == ["start 1.1"]
        assert desk.entry().limit_s == 60.0

    def test_a_start_that_is_ordered_again_may_have_another(self) -> None:
        desk = running()
        again = replace(start(1, "a:0"), time_s=60.0)
        assert desk.ordered(again) == ["a: limit 1.1 60.0 s", "tell started 1.1"]

    @pytest.mark.parametrize("attempt", [0, 2])
    def test_of_another_attempt_is_not_obeyed(self, attempt: int) -> None:
        desk = running()
        assert desk.ordered(steer(1, 60.0, attempt)) == []
        assert desk.entry().limit_s is None
        assert desk.ordered(steer(9, 60.0)) == []

    def test_of_an_earlier_attempt_does_not_stay(self) -> None:
        desk = Desk(up="a")
        desk.ordered(start(1, "a:0"))
        desk.ordered(steer(1, 60.0))
        desk.state(view("1.1", "never"))
        desk.ordered(start(1, "a:0", 2))
        assert desk.entry().limit_s is None

    def test_an_end_by_it_says_so(self) -> None:
        end = {"signal": 15, "limit_s": 7200.0, "cpu_s": 1.5}
        message = "time limit 2h reached"
        assert outcome_of(end) == Outcome(kind=OutcomeKind.TIME_LIMIT, signal=15, message=message, cpu_s=1.5)


class TestWhatWasUsed:
    def test_is_in_the_outcome(self) -> None:
        end = {"exit": 0, "cpu_s": 1.5, "wall_s": 2.0, "peak_mem_bytes": 7, "io_read_bytes": 8, "io_write_bytes": 9}
        found = outcome_of(end)
        assert (found.cpu_s, found.wall_s, found.peak_mem_bytes) == (1.5, 2.0, 7)
        assert (found.io_read_bytes, found.io_write_bytes) == (8, 9)

    def test_on_other_nodes_is_added(self) -> None:
        desk = Desk(up="a b")
        desk.ordered(start(1, "a:0 b:0"))
        desk.started()
        entry = desk.entry()
        desk.ledger.rank_started(entry, "1.1/7.1", HostName("b"))
        desk.ended(exit=0, cpu_s=1.0, peak_mem_bytes=100, wall_s=3.0)
        for _ in range(2):  # told again
            desk.ledger.rank_ended(entry, "1.1/7.1", HostName("b"), {"exit": 0, "cpu_s": 2.5, "peak_mem_bytes": 50})
        assert entry.outcome == Outcome(
            kind=OutcomeKind.EXITED, exit_status=0, cpu_s=3.5, wall_s=3.0, peak_mem_bytes=150
        )

    def test_of_a_task_its_time_is_how_long_it_ran(self) -> None:
        desk = running()
        desk.entry().run_s = 0.25
        assert desk.ledger.task_ended(desk.entry(), {"exit": 0, "cpu_s": 0.1}).outcome.wall_s == 0.25

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({}, None),
            ({"node_mem_bytes": 32 << 30, "peak_mem_bytes": 1 << 30}, None),
            ({"node_mem_bytes": 32 << 30, "peak_mem_bytes": 31 << 30},
             "killed by signal 9 on a; memory was at least 31.0 of 32.0 GB"),
            ({"node_mem_bytes": 32 << 30, "peak_mem_bytes": 1 << 30, "oom": True},
             "killed by signal 9 on a; memory was at least 1.0 of 32.0 GB; the kernel was out of memory"),
            ({"node_mem_bytes": 32 << 30, "oom": True}, "killed by signal 9 on a; the kernel was out of memory"),
        ],
    )  # fmt: skip
    def test_too_little_memory_is_named_where_it_may_be_why(self, more: dict[str, object], message: str | None) -> None:
        assert outcome_of({"signal": 9, **more}, "a").message == message


class TestASuspension:
    def test_is_told_to_all_nodes_where_something_of_it_runs(self) -> None:
        desk = Desk(up="a b")
        desk.ordered(start(1, "a:0 b:0"))
        desk.started()
        desk.ledger.rank_started(desk.entry(), "1.1/7.1", HostName("b"))
        assert desk.ordered(steer(1, suspended=True)) == ["a: suspend 1.1", "b: suspend 1.1/7.1"]
        assert desk.ordered(steer(1, suspended=True)) == []
        assert desk.ordered(steer(1, suspended=False)) == ["a: continue 1.1", "b: continue 1.1/7.1"]

    def test_is_told_again_on_a_new_link(self) -> None:
        desk = running()
        desk.ordered(steer(1, 60.0, suspended=True))
        desk.failed("a")
        assert desk.up("a", view("1.1", "running")) == ["a: limit 1.1 60.0 s", "a: suspend 1.1"]

    def test_is_over_when_it_is_to_end(self) -> None:
        desk = running()
        desk.ordered(steer(1, suspended=True))
        assert desk.ordered(stop(1)) == ["links a", "a: stop 1.1 5 s"]
        assert desk.ordered(steer(1, suspended=True)) == []
        desk.failed("a")
        assert desk.up("a", view("1.1", "running")) == ["a: stop 1.1 5 s"]

    def test_a_launcher_that_knows_nothing_of_it_says_so_once(self) -> None:
        desk = running().restarted()
        desk.up("a", view("1.1", "running"))
        assert desk.ordered(steer(1, suspended=False)) == ["a: continue 1.1"]
        assert desk.ordered(steer(1, suspended=False)) == []

    def test_of_what_was_never_sent_is_no_word(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        assert desk.ordered(steer(1, suspended=True)) == []


class TestASignal:
    def test_is_sent_each_time_that_it_is_ordered(self) -> None:
        desk = running()
        for _ in range(2):
            assert desk.ordered(signal_to(1, 10)) == ["a: signal 1.1"]

    @pytest.mark.parametrize(("number", "attempt"), [(1, 0), (1, 2), (9, 1)])
    def test_never_to_what_this_launcher_has_not_started(self, number: int, attempt: int) -> None:
        assert running().ordered(signal_to(number, 9, attempt)) == []

    def test_nor_to_what_was_not_sent_or_is_over(self) -> None:
        desk = Desk()
        desk.ordered(start(1, "a:0"))
        assert desk.ordered(signal_to(1, 10)) == []
        over = running()
        over.ended()
        assert over.ordered(signal_to(1, 10)) == []
