"""Where studies may lie: below the configured roots, and nowhere else by any trick."""

import os
from pathlib import Path

import pytest

from app.errors import SourceNotAllowed, StorageUnavailable
from app.storage.roots import Roots, Tree
from tests.storage.trees import bind_socket, unprivileged


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "incoming"
    (made / "ward" / "study").mkdir(parents=True)
    (tmp_path / "elsewhere" / "study").mkdir(parents=True)
    return made


def refusal(roots: Roots, directory: str | Path) -> str:
    with pytest.raises(SourceNotAllowed) as refused:
        roots.locate(str(directory))
    return str(refused.value)


def test_a_directory_below_a_root_is_located_by_root_and_path(root):
    assert Roots([root]).locate(f"{root}/ward/study") == (str(root), "ward/study")


@pytest.mark.parametrize("spelling", ["{}/ward/study/", "{}//ward/./study", "/.{}/ward/study"])
def test_slashes_and_single_dots_mean_nothing(root, spelling):
    assert Roots([root]).locate(spelling.format(root)) == (str(root), "ward/study")


def test_the_root_itself_is_allowed(root):
    assert Roots([root]).locate(str(root)) == (str(root), ".")


def test_of_nested_roots_the_inner_one_is_taken(root):
    located = Roots([root, root / "ward"]).locate(f"{root}/ward/study")

    assert located == (str(root / "ward"), "study")


def test_a_relative_path_is_taken_below_the_one_root_that_has_it(root, tmp_path):
    roots = Roots([root, tmp_path / "elsewhere"])

    assert roots.locate("ward/study") == (str(root), "ward/study")


def test_a_relative_path_that_two_roots_have_is_refused(root, tmp_path):
    (root / "study").mkdir()

    assert refusal(Roots([root, tmp_path / "elsewhere"]), "study")


def test_a_root_that_is_a_link_is_known_by_both_names(root, tmp_path):
    link = tmp_path / "mounted"
    link.symlink_to(root)
    roots = Roots([link])

    assert roots.locate(f"{link}/ward/study") == (str(link), "ward/study")
    assert roots.locate(f"{root}/ward/study") == (str(link), "ward/study")


def test_a_directory_whose_name_is_no_utf8_is_located(root):
    (root / "M\udcfcller").mkdir()

    assert Roots([root]).locate(f"{root}/M\udcfcller") == (str(root), "M\udcfcller")


def test_a_link_inside_the_root_is_replaced_by_where_it_leads(root):
    (root / "latest").symlink_to("ward/study")

    assert Roots([root]).locate(f"{root}/latest") == (str(root), "ward/study")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("{root}/../elsewhere/study", id="upwards and out"),
        pytest.param("{root}/ward/../ward/study", id="upwards and back"),
        pytest.param("..", id="upwards alone"),
        pytest.param("ward/../../elsewhere", id="relative and upwards"),
        pytest.param("{outside}/study", id="outside"),
        pytest.param("/", id="everything"),
        pytest.param("{root}-2/study", id="a name that begins like the root's"),
        pytest.param("{root}/nowhere", id="nothing"),
        pytest.param("", id="no path"),
        pytest.param("{root}/ward\0/study", id="a zero byte"),
        pytest.param("{root}/\ud800", id="no text"),
        pytest.param("{root}/" + "a/" * 200, id="too deep"),
        pytest.param("{root}/" + "a" * 5000, id="too long"),
    ],
)
def test_what_is_no_directory_below_a_root_is_refused(root, tmp_path, path):
    (tmp_path / "incoming-2" / "study").mkdir(parents=True)
    given = path.format(root=root, outside=tmp_path / "elsewhere")

    assert str(tmp_path) not in refusal(Roots([root]), given)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("{outside}/study", id="absolute"),
        pytest.param("../elsewhere/study", id="relative"),
        pytest.param("ward/../../elsewhere/study", id="in and out again"),
        pytest.param("../incoming/ward", id="out and in again"),
        pytest.param("link", id="a circle"),
        pytest.param("nowhere", id="nowhere"),
        pytest.param("/", id="everything"),
        pytest.param("second", id="a link to a link that leads out"),
    ],
)
def test_a_link_that_leads_out_of_the_root_is_refused(root, tmp_path, target):
    (root / "second").symlink_to(tmp_path / "elsewhere")
    (root / "link").symlink_to(target.format(outside=tmp_path / "elsewhere"))

    assert refusal(Roots([root]), root / "link")
    assert refusal(Roots([root]), root / "link" / "study")


def test_a_device_is_refused():
    assert refusal(Roots([Path("/dev")]), "/dev/null")


@pytest.mark.parametrize("make", [os.mkfifo, bind_socket, Path.touch])
def test_what_is_no_directory_is_refused(root, make):
    make(root / "entry")

    assert refusal(Roots([root]), root / "entry")


def test_a_directory_that_may_not_be_read_is_refused(reachable_path):
    (reachable_path / "closed").mkdir(mode=0)

    with unprivileged():
        assert refusal(Roots([reachable_path]), reachable_path / "closed")


def test_a_directory_below_one_that_can_only_be_passed_is_allowed(reachable_path):
    (reachable_path / "passage" / "study").mkdir(parents=True)
    (reachable_path / "passage").chmod(0o711)

    with unprivileged():
        assert Roots([reachable_path]).locate(f"{reachable_path}/passage/study")


def test_every_refusal_reads_the_same(root, tmp_path):
    given = [tmp_path / "elsewhere", root / "nowhere", tmp_path / "nowhere", "../x", "/etc"]

    assert len({refusal(Roots([root]), path) for path in given}) == 1


def test_nothing_outside_of_the_roots_is_even_looked_at(root, tmp_path, monkeypatch):
    looked = []

    def watched(call):
        return lambda path, *rest, **named: (looked.append(path), call(path, *rest, **named))[1]

    with monkeypatch.context() as patched:
        for name in ("open", "stat", "lstat", "readlink"):
            patched.setattr(os, name, watched(getattr(os, name)))
        refused = refusal(Roots([root]), tmp_path / "elsewhere" / "study")

    assert refused
    assert looked
    assert not [path for path in looked if "elsewhere" in str(path)]


def test_the_gateways_own_directories_are_refused_wherever_they_lie(root):
    (root / "staging" / "batch").mkdir(parents=True)
    roots = Roots([root], [root / "staging", root / "not there"])

    assert refusal(roots, root / "staging")
    assert refusal(roots, root / "staging" / "batch")
    assert roots.locate(f"{root}/ward") == (str(root), "ward")


def test_a_root_that_is_not_configured_is_not_opened(root, tmp_path):
    with pytest.raises(SourceNotAllowed):
        Roots([root]).open(str(tmp_path))


def test_a_root_that_is_not_mounted_may_come_back(tmp_path):
    with pytest.raises(StorageUnavailable):
        Roots([tmp_path / "unmounted"]).open(str(tmp_path / "unmounted"))


def test_a_directory_that_became_a_link_is_not_entered(root, tmp_path):
    tree = Tree(root)
    (root / "ward" / "study").rmdir()
    (root / "ward" / "study").symlink_to(tmp_path / "elsewhere" / "study")

    with pytest.raises(OSError, match=r"."):
        tree.open((b"ward", b"study"))


def test_an_open_tree_is_not_led_astray_by_a_root_that_was_exchanged(root, tmp_path):
    tree = Tree(root)
    root.rename(tmp_path / "moved")
    root.symlink_to(tmp_path / "elsewhere")

    fd = tree.open((b"ward",))

    assert os.path.samestat(os.fstat(fd), (tmp_path / "moved" / "ward").stat())
    os.close(fd)


def test_resolving_ends_whatever_links_promise(root):
    for number in range(60):
        (root / f"l{number}").symlink_to(f"l{number + 1}/" * 1000)

    assert refusal(Roots([root]), root / "l0")


def test_a_root_of_one_organisation_is_not_there_for_others(root, tmp_path):
    roots = Roots([root, tmp_path / "elsewhere"], owners={root: {"NORD"}})

    assert roots.locate(f"{root}/ward/study", "NORD") == (str(root), "ward/study")
    for organization in ("SUED", None):
        with pytest.raises(SourceNotAllowed):
            roots.locate(f"{root}/ward/study", organization)
        with pytest.raises(SourceNotAllowed):
            roots.open(str(root), organization)
    assert roots.locate(f"{tmp_path}/elsewhere/study", "SUED")


def test_what_is_an_organisations_own_is_not_entered_from_a_root_around_it(root):
    own = root / "ward"
    roots = Roots([root, own], owners={own: {"NORD"}})

    assert roots.locate(f"{own}/study", "NORD") == (str(own), "study")
    for path in (own, own / "study"):
        with pytest.raises(SourceNotAllowed):
            roots.locate(str(path), "SUED")
    tree = roots.open(str(root), "SUED")
    with pytest.raises(SourceNotAllowed):
        tree.open((b"ward",))
    tree.close()


def test_what_is_an_organisations_own_is_not_entered_when_it_comes_later(root):
    """It is mounted, or exchanged, while the root around it is open."""
    (root / "south").mkdir()
    (root / "by-link").symlink_to("south")
    tree = Roots([root, root / "south"], owners={root / "south": ["SOUTH"]}).open(
        str(root), "NORTH"
    )

    (root / "south").rename(root.with_name("unmounted"))
    (root / "south" / "study").mkdir(parents=True)

    for names in [(b"south",), (b"south", b"study"), tree.resolve((b"by-link",))]:
        with pytest.raises(SourceNotAllowed):
            tree.open(names)
    tree.close()


def test_an_organisations_own_root_behind_a_link_is_not_entered_when_it_comes_later(root):
    (root / "disks").mkdir()
    (root / "mounted").symlink_to("disks")
    own = root / "mounted" / "south"
    tree = Roots([root, own], owners={own: ["SOUTH"]}).open(str(root), "NORTH")

    (root / "disks" / "south").mkdir()

    with pytest.raises(SourceNotAllowed):
        tree.open((b"disks", b"south"))
    tree.close()


def test_a_relative_path_is_sought_below_the_roots_of_the_organisation_alone(root, tmp_path):
    (root / "study").mkdir()
    roots = Roots([root, tmp_path / "elsewhere"], owners={root: {"NORD"}})

    assert roots.locate("study", "SUED") == (f"{tmp_path}/elsewhere", "study")


def test_a_refusal_does_not_tell_what_lies_below_anothers_root(root):
    roots = Roots([root], owners={root: {"NORD"}})

    said = set()
    for path in (root / "ward", root / "nothing", "/etc"):
        with pytest.raises(SourceNotAllowed) as refused:
            roots.locate(str(path), "SUED")
        said.add(str(refused.value))

    assert len(said) == 1
