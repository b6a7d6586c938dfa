"""``make demo``: a sample study through a running gateway, and one patient found again.

Starts ``deid-gateway serve`` on a free port with a data directory of its own, talks to it over
HTTP only, prints what went in and what came out, and stops it.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
from pydicom import Dataset, dcmread
from rich.console import Console
from rich.table import Table

from app.samples import SampleInstance, sample_study

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
SHOWN = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "InstitutionName",
    "ReferringPhysicianName",
    "StudyInstanceUID",
    "StudyDate",
    "StudyDescription",
    "ImageComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
)


class DemoFailed(Exception):
    """The gateway did not do what the demo shows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway made of one instance."""

    name: str
    before: Dataset
    after: Dataset
    cloud_study_id: str
    milliseconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 1 where the gateway did not do what it shows."""
    del arguments
    console = Console(width=max(Console().width, 110))
    with tempfile.TemporaryDirectory(prefix="deid-demo-") as directory:
        data_dir = Path(directory) / "data"
        try:
            with running_gateway(data_dir) as address:
                show(console, address, data_dir)
        except (DemoFailed, httpx.HTTPError) as error:
            console.print(f"[bold red]{error}")
            return 1
    return 0


@contextmanager
def running_gateway(data_dir: Path) -> Iterator[str]:
    """Start a gateway with nothing but this directory, and stop it in the end."""
    program = Path(sys.executable).with_name("deid-gateway")
    log = data_dir.with_name("gateway.log")
    with log.open("wb") as output:
        gateway = subprocess.Popen(
            # A database in the caller's environment is not the demo's to write into.
            ["env", "-u", "DATABASE_URL", program, "serve", "--port", "0", "--data-dir", data_dir],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield wait_until_ready(gateway, log)
    finally:
        gateway.terminate()
        try:
            gateway.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            gateway.kill()
            gateway.wait()


def wait_until_ready(gateway: "subprocess.Popen[bytes]", log: Path) -> str:
    """Return the address that the gateway printed, once it says that it is ready."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and gateway.poll() is None:
        found = ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if found is not None and is_ready(found[0]):
            return found[0]
        time.sleep(0.05)
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    raise DemoFailed(f"The gateway did not start:\n{said}")


def is_ready(address: str) -> bool:
    """Ask the gateway itself."""
    try:
        return httpx.get(f"{address}/readyz").is_success
    except httpx.TransportError:
        return False


def show(console: Console, address: str, data_dir: Path) -> None:
    """Send, compare, find again, print."""
    keys = data_dir / "keys"
    with httpx.Client(base_url=address, timeout=30) as client:
        answers = [
            send(client, token(keys / "development.token"), instance) for instance in sample_study()
        ]
        cloud_study_id = answers[0].cloud_study_id
        found = find(client, token(keys / "development-reporting.token"), cloud_study_id)
    check(answers, found)
    console.print(instances_table(answers))
    console.print(attributes_table(answers[0]))
    console.print(found_table(cloud_study_id, found))
    console.print(
        f"{len(answers)} instances, one cloud study id, every reference followed, pixel data "
        "unchanged, patient found."
    )


def token(path: Path) -> str:
    """Read an API key that the gateway made at its first start in development mode."""
    return f"Bearer {path.read_text(encoding='ascii').strip()}"


def send(client: httpx.Client, authorization: str, instance: SampleInstance) -> Answer:
    """Post one instance and read the answer as any viewer would."""
    began = time.perf_counter()
    response = client.post(
        "/anonymize-stream",
        content=instance.data,
        headers={"Authorization": authorization, "Content-Type": "application/dicom"},
    )
    took_ms = (time.perf_counter() - began) * 1e3
    expect_success(response)
    return Answer(
        instance.name,
        dcmread(BytesIO(instance.data)),
        dcmread(BytesIO(response.content)),
        response.headers["X-Cloud-Study-Id"],
        took_ms,
    )


def find(client: httpx.Client, authorization: str, cloud_study_id: str) -> dict[str, object]:
    """Ask who a cloud study belongs to."""
    response = client.get(
        "/reidentify",
        params={"cloud_study_id": cloud_study_id, "purpose": "HTEST", "reference": "DEMO"},
        headers={"Authorization": authorization},
    )
    expect_success(response)
    found: dict[str, object] = response.json()
    return found


def expect_success(response: httpx.Response) -> None:
    """Turn a refusal into the end of the demo."""
    if not response.is_success:
        raise DemoFailed(f"The gateway answered {response.status_code}: {response.text}")


def check(answers: Sequence[Answer], found: dict[str, object]) -> None:
    """Hold the gateway to what the last line of the demo says."""
    before = answers[0].before
    if len({answer.cloud_study_id for answer in answers}) != 1:
        raise DemoFailed("One study got several cloud study ids")
    if references(answers[-1].after) != {str(a.after.SOPInstanceUID) for a in answers[:-1]}:
        raise DemoFailed("The report does not refer to the slices any more")
    if any(answer.before.get("PixelData") != answer.after.get("PixelData") for answer in answers):
        raise DemoFailed("The pixel data changed")
    if found["original_patient_id"] != str(before.PatientID):
        raise DemoFailed("Another patient was found")


def references(report: Dataset) -> set[str]:
    """Collect the instances that a report lists as its evidence."""
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def instances_table(answers: Sequence[Answer]) -> Table:
    """List what was sent."""
    table = Table("sent", "series", "cloud study id", "SOP Instance UID after", "ms", title="Study")
    for answer in answers:
        table.add_row(
            answer.name,
            str(answer.before.SeriesDescription),
            answer.cloud_study_id,
            shortened(str(answer.after.SOPInstanceUID)),
            f"{answer.milliseconds:.1f}",
        )
    return table


def attributes_table(answer: Answer) -> Table:
    """Set attributes before and after beside each other."""
    table = Table("attribute", "before", "after", title=f"Attributes of {answer.name}")
    for keyword in SHOWN:
        values = [shown(dataset, keyword) for dataset in (answer.before, answer.after)]
        table.add_row(keyword, *values)
    private = [
        str(sum(element.tag.is_private for element in dataset))
        for dataset in (answer.before, answer.after)
    ]
    table.add_row("private elements", *private)
    return table


def found_table(cloud_study_id: str, found: dict[str, object]) -> Table:
    """Show what reporting staff got."""
    table = Table("asked", "answer", "", title="Re-identification")
    for position, (name, value) in enumerate(found.items()):
        if value and not isinstance(value, list):
            table.add_row("" if position else cloud_study_id, name, shortened(str(value)))
    return table


def shown(dataset: Dataset, keyword: str) -> str:
    """Return an attribute's value, or a word for its absence."""
    if keyword not in dataset:
        return "[dim]absent"
    return shortened(str(dataset[keyword].value)) or "[dim]empty"


def shortened(text: str) -> str:
    """Cut the middle of a long value so that the table fits a terminal."""
    return text if len(text) <= 40 else f"{text[:22]}…{text[-16:]}"


if __name__ == "__main__":
    sys.exit(main())
