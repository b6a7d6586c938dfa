"""``deid-gateway organizations set`` and ``show``: what each organisation may use."""

import pytest

from app.errors import DatabaseUnavailable, OrganizationNotFound
from tests.cli.conftest import Invoke

UNTOUCHED = "NORD: profile basic; others *; objects per day none; open batches none\n"


def test_an_organisation_begins_with_everything(invoke: Invoke) -> None:
    invoke("organizations", "add", "NORD")

    assert invoke("organizations", "show", "NORD").output == UNTOUCHED


def test_what_is_not_given_stays_as_it_is(invoke: Invoke) -> None:
    invoke("organizations", "add", "NORD")

    invoke("organizations", "set", "NORD", "--profile", "strict", "--allow-profile", "basic")
    done = invoke("organizations", "set", "NORD", "--objects-per-day", 20, "--open-batches", 0)

    said = "NORD: profile strict; others basic; objects per day 20; open batches 0\n"
    assert (done.exit_code, done.output) == (0, said)
    assert invoke("organizations", "show", "NORD").output == said


def test_bounds_can_be_taken_away_again(invoke: Invoke) -> None:
    invoke("organizations", "add", "NORD")
    given = ["--only-default-profile", "--objects-per-day", 20]
    invoke("organizations", "set", "NORD", *given)

    taken = ["--allow-profile", "*", "--objects-per-day", "none"]
    done = invoke("organizations", "set", "NORD", *taken)

    assert done.output == UNTOUCHED


@pytest.mark.parametrize(
    "given",
    [
        ["--profile", "nobody-made-this"],
        ["--allow-profile", "nobody-made-this"],
        ["--objects-per-day", "-1"],
        ["--objects-per-day", "many"],
        ["--objects-per-day", "9" * 20],
        ["--open-batches", "9" * 10],
        ["--only-default-profile", "--allow-profile", "basic"],
    ],
)
def test_what_cannot_be_is_refused(invoke: Invoke, given: list[str]) -> None:
    invoke("organizations", "add", "NORD")

    done = invoke("organizations", "set", "NORD", *given)

    assert done.exit_code != 0
    assert not isinstance(done.exception, DatabaseUnavailable)
    assert invoke("organizations", "show", "NORD").output == UNTOUCHED


def test_an_organisation_that_is_not_there_is_named_as_such(invoke: Invoke) -> None:
    done = invoke("organizations", "set", "NORD", "--profile", "basic")

    assert isinstance(done.exception, OrganizationNotFound)


@pytest.mark.parametrize(
    "command",
    [
        ("reidentify", "2X4JR-NM8Z2-85X3", "--purpose", "TREAT", "--reference", "T-1"),
        ("approvals", "list"),
        ("quarantine", "list"),
    ],
    ids=lambda command: command[0],
)
def test_no_organisation_is_made_by_naming_it(invoke: Invoke, command: tuple[str, ...]) -> None:
    done = invoke(*command, "--organization", "TYPO")

    assert isinstance(done.exception, OrganizationNotFound)
    assert "TYPO" not in invoke("organizations", "list").output
