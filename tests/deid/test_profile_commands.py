"""``profiles check`` and ``profiles import``, from files to what is printed."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.profiles import profiles
from app.deid.profile import BUILT_IN, profile_from_text
from app.errors import InvalidProfile

WEAK = """
name: weak
options: [basic]
burned_in: accept-uncleaned-pixels
overrides:
  - {keyword: StationName, action: K}
  - {keyword: StudyDescription, action: X}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(profiles, arguments)


@pytest.fixture
def weak(tmp_path: Path) -> str:
    path = tmp_path / "weak.yaml"
    path.write_text(WEAK)
    return str(path)


def test_a_check_names_what_is_weaker_and_says_what_is_claimed(weak: str) -> None:
    done = run("check", weak)

    assert done.exit_code == 0
    assert "override 1, (0008,1010) StationName: K is weaker than Table E.1-1" in done.output
    assert "override 2" not in done.output
    assert "burned_in" in done.output
    assert "2 weaker, claims no code" in done.output


def test_a_strict_check_fails_on_what_is_weaker(weak: str) -> None:
    assert run("check", "--strict", weak).exit_code == 1


@pytest.mark.parametrize("layout", [(), ("--json",)])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_profile_that_is_shown_is_checked_with_the_same_version(
    name: str, layout: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(run("show", name, *layout).stdout)

    done = run("check", str(path))

    assert done.output == f"{name} {BUILT_IN[name].version}: valid, 0 weaker, claims its codes\n"


def test_a_file_is_shown_and_stated_like_a_profile_with_a_name(weak: str) -> None:
    version = profile_from_text(WEAK).version

    assert run("show", weak).stdout.startswith(f"# Version {version}\nname: weak\n")
    assert f"| Profile version | {version} |" in run("conformance", weak).stdout
    assert run("conformance", weak, "--format", "html").stdout.startswith("<!DOCTYPE html>")


def test_a_profile_that_is_none_fails(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("{name: x, overrides: [{action: K}]}")

    assert isinstance(run("check", str(path)).exception, InvalidProfile)


def test_a_template_is_printed_as_a_profile_and_its_left_out_rows_are_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rules.csv"
    path.write_text("TagPattern;Action\n0010,0010;Z\n0008,1030;K\n")

    done = run("import", str(path), "--name", "taken-over", "--option", "RetainUIDs")

    made = profile_from_text(done.stdout)
    assert (made.name, made.options) == ("taken-over", ("basic", "retain_uids"))
    assert [one.target for one in made.overrides] == ["(0008,1030) StudyDescription"]
    assert done.stderr == "row 1: (0010,0010) is written by the identity templates\n"


@pytest.mark.parametrize("command", [("check",), ("import", "--name", "x")])
@pytest.mark.parametrize(
    "content",
    [b"\xff\xfename: x", b"x" * 2_000_001, b"[" * 100_000],
    ids=["no-utf-8", "long", "deep"],
)
def test_a_file_that_is_no_profile_is_refused_with_the_reason(
    command: tuple[str, ...], content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)

    assert isinstance(run(*command, str(path)).exception, InvalidProfile)
