import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import Misconfigured
from app.vault.keys import ensure_key_files, load_keys, load_reidentify_keys


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "keys" / "keys.json", tmp_path / "private" / "private.json"


def test_both_files_are_made_for_their_owner_alone(files: tuple[Path, Path]) -> None:
    assert ensure_key_files(*files) is True

    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert [stat.S_IMODE(path.parent.stat().st_mode) for path in files] == [0o700, 0o700]
    assert [entry.name for path in files for entry in path.parent.iterdir()] == [
        "keys.json",
        "private.json",
    ]


def test_the_key_file_does_not_hold_the_private_key(files: tuple[Path, Path]) -> None:
    ensure_key_files(*files)

    private = json.loads(files[1].read_text())["sealing_private_keys"]["1"]

    assert private not in files[0].read_text()
    assert set(json.loads(files[0].read_text())) == {
        "version",
        "pseudonym_root",
        "sealing_public_key",
        "sealing_key_version",
    }


def test_existing_files_are_kept(files: tuple[Path, Path]) -> None:
    ensure_key_files(*files)
    before = [path.read_bytes() for path in files]

    assert ensure_key_files(*files) is False

    assert [path.read_bytes() for path in files] == before


def test_a_start_that_was_killed_between_the_files_is_completed(files: tuple[Path, Path]) -> None:
    ensure_key_files(*files)
    private, public = files[1].read_bytes(), load_keys(files[0]).sealing_public_key
    files[0].unlink()

    assert ensure_key_files(*files) is True

    assert files[1].read_bytes() == private
    assert load_keys(files[0]).sealing_public_key == public


def test_a_missing_private_key_is_not_made_beside_an_existing_key_file(
    files: tuple[Path, Path],
) -> None:
    ensure_key_files(*files)
    files[1].unlink()

    assert ensure_key_files(*files) is False

    assert not files[1].exists()


def test_processes_that_start_at_once_agree_on_one_pair(files: tuple[Path, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from app.vault.keys import *\n"
        "made = ensure_key_files(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "keys = load_keys(Path(sys.argv[1]))\n"
        "print(made, keys.pseudonym_root.hex(), keys.sealing_public_key.hex())\n"
    )
    command = [sys.executable, "-c", code, *map(str, files)]
    processes = [
        subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    printed = [process.communicate(timeout=60)[0].split() for process in processes]

    assert sorted(line[0] for line in printed) == ["False", "False", "False", "True"]
    assert len({tuple(line[1:]) for line in printed}) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o602])
def test_a_file_that_is_open_to_others_is_refused(files: tuple[Path, Path], mode: int) -> None:
    ensure_key_files(*files)
    files[0].chmod(mode)
    files[1].chmod(mode)

    with pytest.raises(Misconfigured, match="open to others"):
        load_keys(files[0])
    with pytest.raises(Misconfigured, match="open to others"):
        load_reidentify_keys(files[1])


def test_a_missing_file_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_keys(files[0])


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(Misconfigured, match="regular file"):
        load_keys(tmp_path / "pipe")
    with pytest.raises(Misconfigured, match="regular file"):
        load_keys(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"pseudonym_root": "AAAA"},
        {"pseudonym_root": "not base64 !"},
        {"pseudonym_root": None},
        {"sealing_public_key": 7},
        {"sealing_key_version": 0},
        {"sealing_key_version": "one"},
    ],
    ids=str,
)
def test_a_damaged_key_file_is_refused(files: tuple[Path, Path], change: dict[str, object]) -> None:
    ensure_key_files(*files)
    files[0].write_text(json.dumps(json.loads(files[0].read_text()) | change))

    with pytest.raises(Misconfigured, match="damaged"):
        load_keys(files[0])


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"version": 1}'])
def test_another_text_is_refused_as_a_key_file(files: tuple[Path, Path], text: str) -> None:
    ensure_key_files(*files)
    files[0].write_text(text)
    files[1].write_text(text)

    with pytest.raises(Misconfigured, match="damaged"):
        load_keys(files[0])
    with pytest.raises(Misconfigured, match="damaged"):
        load_reidentify_keys(files[1])


@pytest.mark.parametrize("private", [{}, {"1": "AAAA"}, ["x"]], ids=str)
def test_a_damaged_private_key_file_is_refused(files: tuple[Path, Path], private: object) -> None:
    ensure_key_files(*files)
    files[1].write_text(json.dumps({"version": 1, "sealing_private_keys": private}))

    with pytest.raises(Misconfigured, match="damaged"):
        load_reidentify_keys(files[1])


def test_a_damaged_private_key_file_does_not_get_a_key_file(files: tuple[Path, Path]) -> None:
    ensure_key_files(*files)
    files[0].unlink()
    files[1].write_text("{}")

    with pytest.raises(Misconfigured, match="damaged"):
        ensure_key_files(*files)

    assert not files[0].exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Misconfigured, match=r"cannot be made.*/file"):
        ensure_key_files(tmp_path / "file" / "keys.json", tmp_path / "private.json")
    with pytest.raises(Misconfigured, match=r"cannot be made.*/file"):
        ensure_key_files(tmp_path / "keys.json", tmp_path / "file" / "private.json")


def test_no_key_is_in_a_representation(files: tuple[Path, Path]) -> None:
    ensure_key_files(*files)
    keys, private = load_keys(files[0]), load_reidentify_keys(files[1])

    shown = repr(keys) + repr(private)

    assert repr(keys.pseudonym_root) not in shown
    assert repr(private.sealing_private_keys[1]) not in shown


def test_roots_of_organisations_differ(files: tuple[Path, Path]) -> None:
    ensure_key_files(*files)
    keys = load_keys(files[0])

    roots = {keys.organization_root(name) for name in ("A", "B", "AB", "a")}

    assert {len(root) for root in roots} == {32}
    assert len(roots) == 4
