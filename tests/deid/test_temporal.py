"""Dates and times are judged by their VR and moved by whole days; intervals stay exact."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.deid.rules.temporal import is_temporal, is_timezone, shifted

DAYS = st.dates(dt.date(1905, 1, 1), dt.date(2150, 1, 1))
OFFSETS = st.integers(-1825, 1825).filter(bool)
TIMES = st.sampled_from(["", "10", "1011", "101112", "101112.5", "235960.123456"])
ZONES = st.sampled_from(["", "+0000", "-0330", "+1400"])


def written(day: dt.date) -> bytes:
    return f"{day:%Y%m%d}".encode()


def moved(value: bytes, vr: str, days: int) -> bytes:
    result = shifted(value, vr, days)
    assert result is not None
    return result


def day_of(value: bytes) -> dt.date:
    return dt.date(int(value[:4]), int(value[4:6]), int(value[6:8]))


@given(first=DAYS, second=DAYS, days=OFFSETS)
def test_intervals_between_dates_are_exact(first: dt.date, second: dt.date, days: int) -> None:
    one, other = moved(written(first), "DA", days), moved(written(second), "DA", days)

    assert day_of(one) - day_of(other) == first - second
    assert day_of(one) != first


@given(day=DAYS, time=TIMES, zone=ZONES, days=OFFSETS)
def test_a_date_time_moves_with_the_date_beside_it_and_keeps_time_and_zone(
    day: dt.date, time: str, zone: str, days: int
) -> None:
    value = f"{day:%Y%m%d}{time}{zone}".encode()

    result = moved(value, "DT", days)

    assert result[:8] == moved(written(day), "DA", days)
    assert result[8:] == value[8:]
    assert is_temporal(result, "DT")


@given(day=DAYS, days=OFFSETS)
def test_moving_there_and_back_gives_the_same_date(day: dt.date, days: int) -> None:
    assert moved(moved(written(day), "DA", days), "DA", -days) == written(day)


@given(year=st.integers(1910, 2100), month=st.integers(1, 12), days=OFFSETS, zone=ZONES)
def test_a_partial_date_time_keeps_its_precision(
    year: int, month: int, days: int, zone: str
) -> None:
    of_month = moved(f"{year}{month:02}{zone}".encode(), "DT", days)
    of_year = moved(f"{year}{zone}".encode(), "DT", days)

    middle = dt.date(year, month, 15) + dt.timedelta(days)
    assert of_month == f"{middle:%Y%m}{zone}".encode()
    assert len(of_year) == 4 + len(zone)
    assert abs(int(of_year[:4]) - year) <= abs(days) // 365 + 1


@given(first=DAYS, second=DAYS, days=OFFSETS)
def test_several_values_move_one_by_one(first: dt.date, second: dt.date, days: int) -> None:
    both = written(first) + b"\\" + written(second) + b" "

    assert moved(both, "DA", days) == b"\\".join(
        (moved(written(first), "DA", days), moved(written(second), "DA", days))
    )


@given(value=st.binary(max_size=30), vr=st.sampled_from(["DA", "DT", "TM"]), days=OFFSETS)
def test_what_is_no_date_is_never_passed_on(value: bytes, vr: str, days: int) -> None:
    result = shifted(value, vr, days)

    assert result is None or is_temporal(result, vr)


def test_a_leap_day_is_a_day_like_others() -> None:
    assert shifted(b"20240228", "DA", 1) == b"20240229"
    assert shifted(b"20240229", "DA", 366) == b"20250301"


def test_the_form_of_acr_nema_keeps_its_full_stops() -> None:
    assert shifted(b"2024.02.29", "DA", 1) == b"2024.03.01"


@pytest.mark.parametrize("value", [b"19000101", b"99991231", b"", b"  "])
def test_days_that_stand_for_none_stay(value: bytes) -> None:
    assert shifted(value, "DA", 100) == value.strip()


@pytest.mark.parametrize(
    ("value", "vr"),
    [
        (b"20230229", "DA"),
        (b"20241301", "DA"),
        (b"00000000", "DA"),
        (b"202402", "DA"),
        (b"20240229-20240301", "DA"),
        (b"Quillonb", "DA"),
        (b"20240229\\Zed", "DA"),
        (b"20240229101112.Zed", "DT"),
        (b"20240229+9900", "DT"),
        (b"251011", "TM"),
        (b"about ten", "TM"),
        (b"00010101", "DA"),
    ],
)
def test_what_cannot_be_moved_says_so(value: bytes, vr: str) -> None:
    assert shifted(value, vr, -400) is None


@pytest.mark.parametrize("value", [b"+0100", b"-1200 ", b"+1400"])
def test_a_time_zone_is_known(value: bytes) -> None:
    assert is_timezone(value)


@pytest.mark.parametrize("value", [b"", b"0100", b"+01:00", b"CET", b"+9900"])
def test_other_text_is_no_time_zone(value: bytes) -> None:
    assert not is_timezone(value)
