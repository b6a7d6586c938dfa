from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from bench import archive, batches, extrapolation
from bench.contestants import run_command
from bench.engine import engine_worker
from bench.house import NoSpace, Usage, scratch
from bench.load import PLANTED
from bench.plot import Series, log_log
from bench.simulation import Costs, Simulation, Site, batch_seconds
from bench.workspace import Workspace

COSTS = Costs(
    object_bytes=500_000.0,
    worker_ms=1.0,
    database_ms=0.2,
    mapping_ms=0.05,
    held_ms=2.0,
    claim_ms=1.0,
    record_ms=10.0,
    manifest_us=5.0,
    wal_bytes=1_500.0,
    page_wal_bytes=8_192.0,
    kept_bytes=1_400.0,
)
FAST_LINE = {"line_bytes_per_s": 1e12, "store_puts_per_s": 1e9, "log_bytes_per_s": 1e12}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> archive.Archive:
    space = Workspace(tmp_path_factory.mktemp("bench"), scale=0.006)
    return archive.make("ct", space.files("ct"), space.root / "archive", 7)


def test_an_archive_is_made_of_different_objects_that_can_be_read(made: archive.Archive) -> None:
    datasets = [dcmread(path) for path in made.files]

    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 7
    assert {dataset.file_meta.MediaStorageSOPInstanceUID for dataset in datasets} == {
        dataset.SOPInstanceUID for dataset in datasets
    }
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 1
    assert made.size == sum(path.stat().st_size for path in made.files)


def test_objects_of_an_archive_keep_nothing_of_the_patient_they_were_made_of(
    made: archive.Archive,
) -> None:
    assert not any(PLANTED["PatientID"].encode() in path.read_bytes() for path in made.files)


def test_a_turn_that_published_too_little_is_no_result(
    made: archive.Archive, tmp_path: Path
) -> None:
    run_command(["cp", "-r", str(made.root), str(tmp_path / "out")])
    course = batches.Course(made, tmp_path, tmp_path / "out", [], [], [])

    with pytest.raises(ChildProcessError, match="of 7 are published"):
        batches.check(course)


@pytest.mark.parametrize("mode", ["hashed", "disk"])
def test_every_way_of_writing_gives_the_bytes_of_the_engine(
    mode: str, made: archive.Archive, tmp_path: Path
) -> None:
    written = {}
    for way in ("files", mode):
        out = tmp_path / way
        out.mkdir()
        with engine_worker(way) as worker:
            worker.run(made.files, out)
        written[way] = {path.name: path.read_bytes() for path in out.iterdir()}

    assert len(written["files"]) == 7
    assert written[mode] == written["files"]


def test_a_table_says_what_a_batch_could_reach_at_all() -> None:
    def turns(seconds: float, database_s: float = 0.0) -> list[batches.Turn]:
        return [batches.Turn(seconds, Usage(seconds, database_s))]

    taken = {batches.LEAST: turns(5.0), batches.WORKERS: turns(9.0, 2.0), batches.HASH: turns(4.0)}

    said = batches.ceiling(taken | {batches.ENGINE: turns(6.0)})

    assert "reaches 0.60 " in said
    assert "for the rows, 0.50 " in said
    assert "at all, 0.75 " in said


def test_a_measurement_begins_only_where_there_is_room_for_it(tmp_path: Path) -> None:
    with pytest.raises(NoSpace), scratch(tmp_path, needed_bytes=1 << 60):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_directory_holds_no_bytes_after_a_failure(tmp_path: Path) -> None:
    made_at: list[Path] = []

    def measure() -> None:
        with scratch(tmp_path, needed_bytes=1) as made:
            made_at.append(made)
            (made / "file").write_bytes(b"left")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure()

    assert not made_at[0].exists()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == 0


def test_a_plot_is_well_formed_and_shows_every_point() -> None:
    points = [(100.0, 0.5), (1_000.0, 1.5), (50_000.0, 40.0)]

    text = log_log("Growth & more", "files", "seconds", [Series("a < b", points)])

    root = ElementTree.fromstring(text)  # noqa: S314 - made here
    assert len(root.findall(".//{http://www.w3.org/2000/svg}circle")) == 3
    assert "Growth &amp; more" in text


def test_the_simulation_is_the_same_every_time() -> None:
    site = Site(nodes=2, organizations=2)

    outcomes = [Simulation(COSTS, site).run(seconds=2.0) for _ in range(2)]

    assert outcomes[0] == outcomes[1]


def test_workers_that_wait_for_nothing_work_at_the_rate_of_their_cores() -> None:
    site = Site(nodes=1, cores=8, organizations=8, batches=8, **FAST_LINE)

    outcome = Simulation(COSTS, site).run(seconds=20.0, begin_s=5.0)

    assert outcome.bottleneck == "worker cores"
    assert outcome.rate == pytest.approx(8 / (COSTS.worker_ms / 1e3), rel=0.05)


def test_one_organisation_goes_no_faster_than_the_head_of_its_audit_chain() -> None:
    site = Site(nodes=4, cores=16, organizations=1, batches=64, chunk_files=256, **FAST_LINE)

    outcome = Simulation(COSTS, site).run(seconds=10.0, begin_s=5.0)

    assert outcome.bottleneck == "audit head of an organisation"
    held_s = (COSTS.held_ms + 2 * COSTS.worker_ms) / 1e3  # the process computes others meanwhile
    assert outcome.rate == pytest.approx(64 / held_s, rel=0.02)


def test_an_object_store_that_is_slow_is_what_bounds() -> None:
    site = Site(nodes=4, cores=16, organizations=8, store_puts_per_s=1_000.0)

    outcome = Simulation(COSTS, site).run(seconds=120.0, begin_s=60.0)

    assert outcome.bottleneck == "object store"
    assert outcome.rate == pytest.approx(1_000.0, rel=0.05)


def test_a_batch_on_one_machine_shares_its_cores_with_the_database() -> None:
    seconds = batch_seconds(COSTS, files=20_000, processes=2, chunk_files=256)

    computing = 20_000 * (COSTS.worker_ms + COSTS.database_ms) / 2 / 1e3
    assert seconds == pytest.approx(computing, rel=0.1)


def test_the_simulation_names_the_measurements_that_it_lacks() -> None:
    with pytest.raises(extrapolation.MissingFigures, match="batches-ct, growth"):
        extrapolation.measure({})
