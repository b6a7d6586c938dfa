"""Counting: what is admitted, what is refused, and that memory is bounded."""

import pytest

from app.access.limits import ADDRESS_FACTOR, MAX_COUNTED, Lockout, Rate
from app.errors import LockedOut, RateLimited

HERE, KEY = "192.0.2.7", b"key"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def is_admitted(rate: Rate, name: str) -> bool:
    try:
        rate.admit(name)
    except RateLimited:
        return False
    return True


@pytest.mark.parametrize("per_minute", [1, 3, 7, 60, 600, 6000])
def test_a_minutes_worth_may_come_at_once_and_then_one_at_a_time(
    clock: Clock, per_minute: int
) -> None:
    rate = Rate(per_minute, clock)

    assert sum([is_admitted(rate, "a") for _ in range(per_minute + 5)]) == per_minute
    clock.now += 60 / per_minute
    assert [is_admitted(rate, "a") for _ in range(2)] == [True, False]


def test_the_answer_says_when_it_is_worth_trying_again(clock: Clock) -> None:
    rate = Rate(2, clock)
    rate.admit("a")
    rate.admit("a")

    with pytest.raises(RateLimited) as refused:
        rate.admit("a")

    clock.now += refused.value.retry_after_s
    assert refused.value.retry_after_s == 30
    assert is_admitted(rate, "a")


def test_only_the_first_refusal_in_a_row_is_marked(clock: Clock) -> None:
    rate, marks = Rate(1, clock), []
    rate.admit("a")
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            rate.admit("a")
        marks.append(refused.value.is_first)

    assert marks == [True, False, False]


def test_callers_are_counted_apart_and_zero_is_no_bound(clock: Clock) -> None:
    rate, unbounded = Rate(1, clock), Rate(0, clock)

    assert [is_admitted(rate, name) for name in "abab"] == [True, True, False, False]
    assert all(is_admitted(unbounded, "a") for _ in range(1000))
    assert len(unbounded) == 0


def test_a_rate_counts_so_many_names_and_no_more(clock: Clock) -> None:
    rate = Rate(1, clock)
    for number in range(MAX_COUNTED + 500):
        is_admitted(rate, str(number))
        is_admitted(rate, str(number))

    assert len(rate) == MAX_COUNTED
    assert len(rate._refused) <= MAX_COUNTED


def test_a_credential_is_shut_out_after_its_failures_and_for_a_while(clock: Clock) -> None:
    lockout = Lockout(3, 60, clock)

    assert [lockout.failed(HERE, KEY) for _ in range(3)] == [False, False, True]
    with pytest.raises(LockedOut) as refused:
        lockout.check(HERE, KEY)
    clock.now += refused.value.retry_after_s
    lockout.check(HERE, KEY)


def test_failures_long_ago_do_not_count(clock: Clock) -> None:
    lockout = Lockout(3, 60, clock)
    for _ in range(20):
        assert not lockout.failed(HERE, KEY)
        clock.now += 31

    lockout.check(HERE, KEY)


def test_a_success_forgives_the_credential_but_not_its_address(clock: Clock) -> None:
    lockout = Lockout(3, 60, clock)
    for _ in range(3 * ADDRESS_FACTOR):
        lockout.failed(HERE, KEY)
        lockout.succeeded(HERE, KEY)

    lockout.check("192.0.2.8", KEY)
    with pytest.raises(LockedOut):
        lockout.check(HERE, b"other")


def test_lock_outs_take_so_much_memory_and_no_more(clock: Clock) -> None:
    lockout = Lockout(3, 60, clock)
    for number in range(MAX_COUNTED + 500):
        lockout.failed(str(number), str(number).encode())

    assert (len(lockout._pairs), len(lockout._addresses)) == (MAX_COUNTED, MAX_COUNTED)


def test_lock_out_can_be_switched_off(clock: Clock) -> None:
    lockout = Lockout(0, 60, clock)

    assert not any(lockout.failed(HERE, KEY) for _ in range(100))
    assert lockout.is_idle
