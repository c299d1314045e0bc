"""Text that stands in images, read by the program tesseract."""

from __future__ import annotations

import io
import shutil
import subprocess
from os import environ
from typing import TYPE_CHECKING

from quire.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image

PROGRAM = "tesseract"
SECONDS = 60.0  # for one image; usual ones take about one


def read_text(image: Image) -> str:
    """What the program tesseract reads in the image as one block of text, in single blanks; "" for nothing.

    MissingExtra where the program is not installed, DataError where it fails or needs longer than a minute.
    """
    program = find_program()
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    try:
        done = subprocess.run(
            [program, "stdin", "stdout", "--psm", "6"],
            input=buffer.getvalue(),
            capture_output=True,
            check=True,
            timeout=SECONDS,
            env={**environ, "OMP_THREAD_LIMIT": "1"},  # more threads make it slower on images of this size
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"tesseract did not read an image within {SECONDS:g} seconds") from error
    except subprocess.CalledProcessError as error:
        cause = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise DataError(f"tesseract failed on an image: {cause}") from error
    return " ".join(done.stdout.decode(errors="replace").split())


def find_program() -> str:
    """The path of tesseract. MissingExtra where it is not installed."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise MissingExtra(
            "reading text from images needs the program tesseract, which is not installed",
            remedy="Install it, on Debian and Ubuntu with: apt-get install tesseract-ocr",
        )
    return program
