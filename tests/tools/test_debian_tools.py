"""Debian's programs run from the cache, without being installed."""

import pytest

from tools import debian_tools

needs_apt = pytest.mark.skipif(
    not debian_tools.is_available(), reason="there is no apt-get on this machine"
)


@needs_apt
def test_a_program_of_a_package_runs_without_being_installed():
    tool = debian_tools.provide("dicom3tools", "dciodvfy", prefer_installed=False)

    assert "dicom3tools" in tool.run("-version").stderr


@needs_apt
def test_a_program_finds_the_libraries_that_were_fetched_with_it():
    tool = debian_tools.provide("dcmtk", "dcmdump", prefer_installed=False)

    assert "dcmdump" in tool.run("--version").stdout


@needs_apt
def test_a_package_of_data_lies_unpacked_in_the_cache():
    tree = debian_tools.provide_tree("fonts-dejavu-core")

    assert (tree / "usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists()


def test_an_installed_program_is_preferred(tmp_path):
    tool = debian_tools.provide("coreutils", "true", cache=tmp_path)

    assert tool.environment == {}
    assert not list(tmp_path.iterdir())


@needs_apt
def test_a_package_that_does_not_exist_is_named_as_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(debian_tools, "_private_lists", lambda _cache: [])

    with pytest.raises(debian_tools.PackageUnavailable, match="no-such-package"):
        debian_tools.provide("no-such-package-at-all", "no-such-program", cache=tmp_path)


@needs_apt
def test_a_package_without_the_program_says_so():
    debian_tools.provide("dicom3tools", "dciodvfy", prefer_installed=False)

    with pytest.raises(debian_tools.PackageUnavailable, match="no program"):
        debian_tools.provide("dicom3tools", "no-such-program")


def test_the_command_prints_where_the_program_is(capsys):
    assert debian_tools.main(["coreutils", "true"]) == 0

    assert capsys.readouterr().out.strip().endswith("/true")
