"""The recogniser: where lines of text are in an image, and what they say.

Only the child processes for reading import this. The models are files of the installed package;
nothing is ever fetched. What is read never leaves the process.
"""

import logging
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rapidocr import RapidOCR
from rapidocr.ch_ppocr_rec.typings import TextRecInput

Image = NDArray[np.uint8]  # (rows, columns, 3)
Polygon = NDArray[np.float32]  # four corners (x, y), clockwise from the top left of the text

_FINDER: Final = "PP-OCRv6_det_small.onnx"
_READER: Final = "PP-OCRv6_rec_small.onnx"
# Below the package's own: what is faint is still looked at, and what it says decides.
_PIXEL_SCORE, _BOX_SCORE = 0.2, 0.35
_MARGIN = 16
_HEIGHT = 48
_MOST_KNOWN = 4000


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Line:
    """One line of text in an image; hidden from ``repr``.

    Attributes:
        corners: in pixels of the image that was read.
        found: how sure it is that this is text, 0 to 1.
        text: what it says; empty where that was not tried.
        score: how sure that is, 0 to 1.
        variants: other texts that it may be.
        mirrored: what a mirror shows of it, where that is read more surely.
    """

    corners: Polygon
    found: float
    text: str = ""
    score: float = 0.0
    variants: tuple[tuple[str, float], ...] = field(default=())
    mirrored: tuple[str, float] | None = None

    @property
    def size(self) -> tuple[float, float]:
        """Extent along the text and across it."""
        corners = self.corners
        along = float(np.linalg.norm(corners[1] - corners[0]))
        across = float(np.linalg.norm(corners[3] - corners[0]))
        return (across, along) if across >= 1.5 * along else (along, across)


class Engine:
    """The two models, loaded once for a process."""

    def __init__(self, threads: int = 1) -> None:
        logging.getLogger("RapidOCR").disabled = True
        models = files("rapidocr") / "models"
        cv2.setNumThreads(threads)
        ocr: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Det.model_path": str(models / _FINDER),
                "Rec.model_path": str(models / _READER),
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.limit_side_len": 32,
                "Det.thresh": _PIXEL_SCORE,
                "Det.box_thresh": _BOX_SCORE,
            }
        )
        self._finder: Any = ocr._load_det_model()  # noqa: SLF001 - its parts have no other door
        self._known: dict[bytes, tuple[str, float]] = {}
        self._reader: Any = ocr._load_rec_model()  # noqa: SLF001

    def find(self, image: Image) -> list[Line]:
        """Return where lines of text are."""
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        edge = [float(value) for value in np.median(rim, axis=0)]
        framed = cv2.copyMakeBorder(
            image, _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_CONSTANT, value=edge
        )
        found = self._finder(framed)
        if found.boxes is None:
            return []
        return [
            Line(np.asarray(box, np.float32) - _MARGIN, float(score))
            for box, score in zip(found.boxes, found.scores, strict=True)
        ]

    def read(self, crops: list[Image]) -> list[tuple[str, float]]:
        """Return what each cut-out line says, and how sure that is; equal ones are read once."""
        keys = [blake2b(crop.tobytes() + repr(crop.shape).encode()).digest() for crop in crops]
        if len(self._known) > _MOST_KNOWN:
            self.forget()
        new = {key: crop for key, crop in zip(keys, crops, strict=True) if key not in self._known}
        if new:
            done = self._reader(TextRecInput(img=list(new.values()), return_word_box=False))
            for key, text, score in zip(new, done.txts, done.scores, strict=True):
                self._known[key] = (str(text), float(score))
        return [self._known[key] for key in keys]

    def forget(self) -> None:
        """Forget what was read: it belongs to one instance."""
        self._known.clear()


def cut(image: Image, corners: Polygon) -> Image:
    """Cut a line out of an image and turn it so that it lies; upright lines are turned left."""
    width = max(round(float(np.linalg.norm(corners[1] - corners[0]))), 1)
    height = max(round(float(np.linalg.norm(corners[3] - corners[0]))), 1)
    scale = min(max(_HEIGHT / min(width, height), 0.25), 4.0)
    width, height = max(round(width * scale), 8), max(round(height * scale), 8)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    transform = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    lying = cv2.warpPerspective(
        image, transform, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC
    )
    if height >= 1.5 * width:
        lying = np.ascontiguousarray(np.rot90(lying))
    return np.asarray(lying, np.uint8)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """Return the models of this process."""
    return Engine()
