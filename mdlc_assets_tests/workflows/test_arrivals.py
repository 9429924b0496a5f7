"""Which work follows from which files."""

from __future__ import annotations

from datetime import date, timedelta

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.workflows.arrivals import Arrivals, overtaken, work_for

_START = date(2018, 4, 1)
_NOTHING = Arrivals({}, {})


def _days(count: int, mark: str = "a") -> dict[date, str]:
    return {_START + timedelta(days=i): mark for i in range(count)}


def test_the_first_days_need_no_labels(payments_fraud: LifecycleDeclaration) -> None:
    work = work_for(payments_fraud, Arrivals(_days(3), {}), _NOTHING, [])
    assert work.event_days == list(_days(3))
    assert work.waiting == []


def test_a_day_waits_for_the_labels_of_a_week_before(payments_fraud: LifecycleDeclaration) -> None:
    work = work_for(payments_fraud, Arrivals(_days(9), {}), Arrivals(_days(7), {}), [])
    assert work.event_days == []
    assert work.waiting[0] == "2018-04-08 waits for the labels of 2018-04-01"
    work = work_for(payments_fraud, Arrivals(_days(9), _days(2)), Arrivals(_days(7), {}), [])
    assert work.label_days == list(_days(2))
    assert work.event_days == [date(2018, 4, 8), date(2018, 4, 9)]


def test_labels_beside_the_events_count_after_their_delay(payments_fraud: LifecycleDeclaration) -> None:
    landed = Arrivals(_days(10), _days(10))
    work = work_for(payments_fraud, landed, _NOTHING, [])
    assert work.label_days == list(_days(3))


def test_a_replaced_file_is_run_again_alone(payments_fraud: LifecycleDeclaration) -> None:
    landed = Arrivals({**_days(9), _START: "changed"}, _days(2))
    work = work_for(payments_fraud, landed, Arrivals(_days(9), _days(2)), list(_days(2)))
    assert (work.event_days, work.label_days) == ([_START], [])
    assert work.rebuild == (date(2018, 4, 2), date(2018, 4, 9))


def test_only_days_whose_windows_reach_it_are_rebuilt(payments_fraud: LifecycleDeclaration) -> None:
    landed = Arrivals({**_days(60), _START: "changed"}, _days(60))
    work = work_for(payments_fraud, landed, Arrivals(_days(60), _days(60)), list(_days(60)))
    assert work.rebuild == (date(2018, 4, 2), date(2018, 5, 8))
    newest = work_for(payments_fraud, Arrivals(_days(10), {}), Arrivals(_days(9), {}), list(_days(9)))
    assert newest.rebuild is None


def test_days_outside_the_dataset_are_left_alone(payments_fraud: LifecycleDeclaration) -> None:
    landed = Arrivals({date(2018, 3, 31): "a", date(2019, 1, 1): "a"}, {})
    assert work_for(payments_fraud, landed, _NOTHING, []).event_days == []


def test_new_attributes_renew_their_day_and_all_days_after(payments_fraud: LifecycleDeclaration) -> None:
    fifth = _START + timedelta(days=4)
    landed = Arrivals(_days(9), _days(2), {_START: "a", fifth: "b"})
    work = work_for(payments_fraud, landed, Arrivals(_days(9), _days(2), {_START: "a"}), list(_days(9)))
    assert work.event_days == [fifth]
    assert work.renew == (date(2018, 4, 6), date(2018, 4, 9))
    assert work.rebuild is None, "they are made from their files again, features too"
    newest = work_for(payments_fraud, landed, Arrivals(_days(4), _days(2), {_START: "a"}), list(_days(9)))
    assert (newest.event_days, newest.renew) == ([_START + timedelta(days=i) for i in range(4, 9)], None)


def test_days_that_ran_before_the_features_they_follow_from() -> None:
    first, second, third, fourth = _days(4)
    in_turn = {first: 1.0, second: 3.0}
    assert overtaken(_days(2), in_turn, {first: 2.0}) == {}, "stopped after the day before was done, by quality say"
    # The first was killed; the others ran behind it, and then the first again.
    behind = {second: 3.0, third: 4.0}
    assert overtaken(_days(3), behind, {}) == {}, "the first is still to come"
    assert overtaken(_days(3), behind, {first: 9.0}) == {second: 9.0}
    assert overtaken(_days(3), behind, {first: 9.0, second: 11.0}) == {third: 11.0}
    assert overtaken(_days(4), behind, {first: 9.0, second: 11.0, third: 12.0}) == {}, "nothing of the fourth came"
    assert fourth not in overtaken(_days(4), {**behind, fourth: 5.0}, {first: 9.0})
