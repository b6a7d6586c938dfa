"""A processor whose source does what a test says, and what it makes."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.batches.opening import OpenSources
from app.batches.processing import Processor
from app.batches.publishing import OpenDestinations, opener
from app.batches.records import ChunkClaim, ItemResult, Request, SourceFile
from app.batches.staging import StagingArea
from app.batches.states import OnError, Priority
from app.batches.writing import Writers
from app.bootstrap import Contexts, Profiles
from app.deid.profile import BUILT_IN
from app.dicom.source import FileSource, Source
from app.dicom.tokens import Limits
from app.storage.stores import Stores
from tests.batches.house import BatchHouse
from tests.mapping_house import NORTH


class Folder:
    """A study source over a plain directory that does what a test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lent = self.most_lent = 0
        self.faults: dict[str, list[BaseException]] = {}
        self.is_closed = False

    @contextmanager
    def lend(self, name: str) -> Iterator[Source]:
        if self.faults.get(name):
            raise self.faults[name].pop(0)
        self.lent += 1
        self.most_lent = max(self.lent, self.most_lent)
        fd = os.open(self.path / name, os.O_RDONLY)
        try:
            yield FileSource(fd)
        finally:
            os.close(fd)
            self.lent -= 1

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Bench:
    """A processor with its source, and what it makes."""

    folder: Folder
    processor: Processor
    area: StagingArea

    def add(self, name: str, data: bytes) -> None:
        (self.folder.path / name).write_bytes(data)

    def claim(self, **given: object) -> ChunkClaim:
        listed = [
            SourceFile(seq, path.name, path.stat().st_size)
            for seq, path in enumerate(sorted(self.folder.path.iterdir()))
        ]
        made = {
            "batch_id": self.area.staging_id,
            "organization": NORTH,
            "number": 3,
            "epoch": 2,
            "attempts": 1,
            "request": Request({"kind": "directory"}, {"kind": "staging"}),
            "priority": Priority.ROUTINE,
            "on_error": OnError.HOLD,
            "profile": "basic",
            "profile_version": BUILT_IN["basic"].version,
            "actor": "tester",
            "request_id": None,
            "files": listed,
        }
        return ChunkClaim(**(made | given))

    async def run(self, **given: object) -> list[ItemResult]:
        results = await self.processor.run(self.claim(**given), is_held=lambda: True)
        assert results is not None
        return list(results)

    def staged(self) -> dict[str, bytes]:
        directory = self.area.chunk_directory(self.area.staging_id, 3, 2)
        return {path.name: path.read_bytes() for path in directory.iterdir()}


@contextmanager
def opened(house: BatchHouse, directory: Path) -> Iterator[Bench]:
    """Open a bench with an empty folder."""
    folder = Folder(directory / "incoming")
    folder.path.mkdir()
    area = StagingArea(directory / "staging")
    with ThreadPoolExecutor(4, "apart") as executor, Writers() as writers:
        processor = Processor(
            sources=OpenSources(lambda _source, _organization: folder),
            destinations=OpenDestinations(opener(Stores({}), area.path)),
            contexts=Contexts(house.mapping.vault, Profiles(None), Limits()),
            vault=house.mapping.vault,
            staging=area,
            inline_bytes=1 << 20,
            executor=executor,
            writers=writers,
        )
        yield Bench(folder, processor, area)
