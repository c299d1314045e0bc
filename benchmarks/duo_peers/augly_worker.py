"""AugLy's operators in a process of their own: a line of JSON asks for each, a line answers.

{"tables": true} -> what AugLy replaces letters by, and the characters of its font.
{"text": ..., "operator": ..., "parameters": ..., "seed": ...} -> {"text": ..., "seconds": ...}
{"images": [in, ...], "out": [...], "operators": [[name, parameters], ...], "seed": ...} -> {"seconds": ...}, those of the
first image alone. Seconds are CPU seconds of the operators: files are read and written outside of them.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
OUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what libraries print goes to standard error

import augly.image  # type: ignore[import-not-found] # noqa: E402
import augly.text  # type: ignore[import-not-found] # noqa: E402
import numpy as np  # noqa: E402
from augly.text.augmenters.utils import LETTER_CHAR_MAPPING  # type: ignore[import-not-found] # noqa: E402
from augly.utils import FONT_PATH, UNICODE_MAPPING_PATH  # type: ignore[import-not-found] # noqa: E402
from PIL import Image  # noqa: E402


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)


def tables() -> dict[str, Any]:
    with Path(UNICODE_MAPPING_PATH).open(encoding="utf-8") as file:
        similar = [LETTER_CHAR_MAPPING, json.load(file)]
    font = Path(FONT_PATH).with_name("OpenSans-Regular.ttf")  # the font that it takes by default has no Latin letters
    return {
        "similar": similar,
        "font": str(font),
        "characters": "".join(map(chr, np.load(font.with_suffix(".pkl"), allow_pickle=True))),  # its own table
        "versions": {name: metadata.version(name) for name in ("augly", "nlpaug", "numpy", "pillow")},
    }


def on_text(wanted: dict[str, Any]) -> dict[str, Any]:
    seeded(wanted["seed"])
    started = time.process_time()
    made = getattr(augly.text, wanted["operator"])(wanted["text"], **wanted["parameters"])
    seconds = time.process_time() - started
    return {"text": made if isinstance(made, str) else made[0], "seconds": seconds}  # some operators give lists


def on_images(wanted: dict[str, Any]) -> dict[str, Any]:
    seconds = []
    for source, out in zip(wanted["images"], wanted["out"], strict=True):
        image = Image.open(source)
        image.load()
        seeded(wanted["seed"])
        started = time.process_time()
        for name, parameters in wanted["operators"]:
            image = getattr(augly.image, name)(image, **coloured(parameters))
        seconds.append(time.process_time() - started)
        image.convert("RGB").save(out)
    return {"seconds": seconds[0]}


def coloured(parameters: dict[str, Any]) -> dict[str, Any]:
    """Colours are tuples, of which JSON makes lists."""
    return {name: tuple(value) if name.endswith("color") else value for name, value in parameters.items()}


def answer(wanted: dict[str, Any]) -> dict[str, Any]:
    if "tables" in wanted:
        return tables()
    return on_text(wanted) if "text" in wanted else on_images(wanted)


def main() -> None:
    for line in sys.stdin:
        try:
            message = answer(json.loads(line))
        except Exception as error:
            message = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(message), file=OUT, flush=True)


if __name__ == "__main__":
    main()
