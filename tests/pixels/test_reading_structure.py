"""Rows of letter-like shapes are found without any recogniser, and texture is none."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

pytest.importorskip("cv2")

from app.pixels.reading_structure import rows

Pixels = NDArray[np.uint8]
LINE = "HAMBXNPKRO 4829 FHQ"


def noise(top: int = 120) -> Pixels:
    return np.random.default_rng(3).integers(0, top, (240, 400), dtype=np.uint8)


def burned(ground: Pixels, *, is_smooth: bool = False, size: int = 20) -> Pixels:
    image = Image.fromarray(ground.copy())
    pen = ImageDraw.Draw(image)
    pen.fontmode = "L" if is_smooth else "1"
    pen.text((12, 40), LINE, fill=255, font=ImageFont.load_default(size))
    return np.asarray(image)


def found(values: NDArray[np.generic]) -> bool:
    return any(box.left < 40 and box.right > 150 and abs(box.top - 44) < 12 for box in rows(values))


def test_letters_of_one_value_are_found_over_noise() -> None:
    assert found(burned(noise()))


def test_letters_with_shades_at_their_edges_are_found() -> None:
    assert found(burned(np.full((240, 400), 60, np.uint8), is_smooth=True, size=30))


def test_letters_of_one_colour_are_found() -> None:
    ink = burned(np.zeros((240, 400), np.uint8)) > 0
    ground = np.stack([noise(), noise(), noise()], axis=-1)
    assert found(np.where(ink[:, :, None], (250, 240, 10), ground).astype(np.uint8))


def test_letters_in_values_of_16_bits_are_found() -> None:
    ink = burned(np.zeros((240, 400), np.uint8)) > 0
    assert found(np.where(ink, 4095, noise().astype(np.uint16) * 9))


def test_noise_ticks_and_checks_are_no_text() -> None:
    ticks = np.zeros((240, 400), np.uint8)
    ticks[100:108, ::8] = 255
    checks = np.kron(np.indices((24, 40)).sum(axis=0) % 2, np.ones((10, 10))).astype(np.uint8)
    assert [rows(image) for image in (noise(), noise(255), ticks, checks * 255)] == [[], [], [], []]


def test_an_image_of_one_value_or_one_pixel_has_no_text() -> None:
    assert rows(np.zeros((64, 64), np.uint8)) == []
    assert rows(np.ones((1, 1), np.uint16)) == []
