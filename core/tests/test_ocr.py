"""Text read from images: what tesseract reads, and what is said where it is missing, fails or takes too long."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw, ImageFont

from quire import ocr
from quire.errors import DataError, MissingExtra
from quire.ocr import read_text

if TYPE_CHECKING:
    from pathlib import Path

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")


def written(*lines: str) -> Image.Image:
    image = Image.new("RGB", (640, 200), "white")
    font = ImageFont.load_default(size=48)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((20, 20 + 80 * number), line, fill="black", font=font)
    return image


@needs_tesseract
def test_tesseract_reads_lines_in_single_blanks() -> None:
    assert read_text(written("love the way", "you smell today")) == "love the way you smell today"
    assert read_text(Image.new("RGB", (100, 100), "white")) == ""


@needs_tesseract
def test_grey_and_16_bit_images_are_read_too() -> None:
    assert read_text(written("see you at noon").convert("L")) == "see you at noon"
    assert read_text(written("see you at noon").convert("L").convert("I;16").point(lambda v: v * 257)) != ""


def test_without_the_program_its_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match="tesseract-ocr"):
        read_text(written("hello"))


def fake_program(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "tesseract"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_a_failure_is_told_in_the_program_s_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_program(tmp_path, monkeypatch, "echo 'no language files' >&2; exit 1")
    with pytest.raises(DataError, match="tesseract failed on an image: no language files"):
        read_text(written("hello"))


def test_a_program_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_program(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(ocr, "SECONDS", 0.3)
    with pytest.raises(DataError, match=r"did not read an image within 0\.3 seconds"):
        read_text(written("hello"))
