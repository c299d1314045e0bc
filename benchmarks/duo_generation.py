"""How many cases a CPU second makes on one core: the rules of quire-duo on texts and pictures at 640 x 480.

    OMP_NUM_THREADS=1 python benchmarks/duo_generation.py [--seconds 3] [rule ...]

Texts are the spam messages of QUIRE_DATA/duo/SMSSpamCollection, without it three invented ones; pictures are made. A
case is fused and checked (V1 to V5); files are not written. The target of the section on speed is 100 cases a second
for the rules TI.*, and 15 for those that speak: name them, such as A.* TA.* IA.* V.* S.*. What espeak-ng takes in its
own processes is counted. Beds are the spoken digits of QUIRE_DATA/duo/fsdd, without them noise; films and series are
made.
"""

from __future__ import annotations

import argparse
import os
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from quire.modality import Audio, Frames, Waveform
from quire_duo.case import Case
from quire_duo.rule import find_rules
from quire_duo.seed_set import PAIR
from quire_duo.seeds import Lexicon, NotApplicable, Seed
from quire_duo.validity import run_checks
from quire_duo.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire_duo.rule import FusionRule

INVENTED = ("WINNER!! Claim your prize now", "Cheap loans today, no questions asked, call this number", "Free entry!")
CHECKS = ("V1", "V2", "V3", "V4", "V5")


def texts(label: str) -> list[str]:
    data = os.environ.get("QUIRE_DATA")
    file = Path(data or "") / "duo" / "SMSSpamCollection"
    if data is None or not file.is_file():
        return list(INVENTED) * 4
    rows = (line.partition("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return [text for found, _, text in rows if found == label][:200]


def pictures() -> list[Image.Image]:
    """Smooth random pictures, as busy as photographs are."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)) for _ in range(16)]
    return [image.resize((640, 480), Image.Resampling.BICUBIC) for image in coarse]


def recordings() -> list[Waveform]:
    """Spoken digits at 8 kHz, or a second of noise."""
    folder = Path(os.environ.get("QUIRE_DATA") or "") / "duo" / "fsdd"
    files = sorted(folder.glob("*_0.wav"))[:30]
    if not files:
        return [Waveform(0.1 * np.random.default_rng(0).standard_normal((1, 8000), dtype=np.float32), 8000)]
    return [Audio().read(file) for file in files]


def films() -> list[Frames]:
    """Ten seconds of a picture at 320 x 240 and 5 frames a second."""
    stills = [np.asarray(image.resize((320, 240))) for image in pictures()[:4]]
    return [Frames(np.repeat(still[None], 50, axis=0), 5.0) for still in stills]


def series() -> list[np.ndarray]:
    """Random walks of 500 steps."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, 500), dtype=np.float32).cumsum(axis=1) for _ in range(16)]


def cpu_seconds() -> float:
    """Of this process and of those that it ran."""
    return sum(os.times()[:4])


def parts_of(rule: FusionRule, toxic: Seed, benign: dict[str, list[Seed]]) -> dict[str, list[Seed]]:
    return {
        slot.name: [toxic] if slot is rule.toxic_slot else benign[slot.modality][: slot.most] for slot in rule.slots
    }


def cases(rule: FusionRule, workshop: Workshop) -> Iterator[Case | None]:
    """Endlessly; None where the rule is not applicable to a seed."""
    benign = {
        "text": [Seed(f"b{i}", "ads", False, "text", text) for i, text in enumerate(texts("ham"))],
        "image": [Seed(f"i{i}", "ads", False, "image", image) for i, image in enumerate(pictures())],
        "audio": [Seed(f"a{i}", "ads", False, "audio", sound) for i, sound in enumerate(recordings())],
        "video": [Seed(f"v{i}", "ads", False, "video", film) for i, film in enumerate(films())],
        "series": [Seed(f"s{i}", "ads", False, "series", values) for i, values in enumerate(reversed(series()))],
    }
    made = {"text": lambda: texts("spam"), "image": pictures, "audio": recordings, "video": films, "series": series}
    values = made[rule.toxic_slot.modality]()
    parameters = rule.check({})
    for number, value in enumerate(cycle(values)):
        toxic = Seed(f"t{number}", "ads", True, rule.toxic_slot.modality, value)
        parts = parts_of(rule, toxic, benign)
        try:
            fused = rule.apply(parts, parameters, np.random.default_rng(number), workshop)
        except NotApplicable:
            yield None
            continue
        yield Case(rule.id, parameters, (toxic,), "ads", "toxic", rule.guarantee, fused.content, fused.witness, number)


def measure(rule: FusionRule, seconds: float, workshop: Workshop) -> dict[str, float]:
    made = valid = tried = 0
    running = cases(rule, workshop)
    next(running)  # fonts are loaded
    started = cpu_seconds()
    while cpu_seconds() - started < seconds:
        case = next(running)
        tried += 1
        if case is not None:
            made += 1
            valid += all(check.passed for check in run_checks(case, CHECKS, lexicon=workshop.lexicon)[0])
    elapsed = cpu_seconds() - started
    return {"tried": tried, "made": made, "valid": valid, "rate": made / elapsed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rules", nargs="*", default=["T.*", "TI.*", "II.*", "IT.*"])
    parser.add_argument("--seconds", type=float, default=3.0, help="a rule")
    given = parser.parse_args()
    workshop = Workshop(lexicon=Lexicon({"free": "ads", "prize": "ads", "claim": "ads"}))
    rules = [
        rule
        for rule in find_rules(given.rules)
        if rule.unavailable(workshop) is None and rule.toxic_slot.modality != PAIR
    ]
    print(f"{'rule':<20}{'cases/s':>10}{'tried':>8}{'made':>8}{'valid':>8}")
    rates = {}
    for rule in rules:
        row = measure(rule, given.seconds, workshop)
        rates[rule.id] = row["rate"]
        print(f"{rule.id:<20}{row['rate']:>10.1f}{row['tried']:>8}{row['made']:>8}{row['valid']:>8}", flush=True)
    drawn = [rate for name, rate in rates.items() if name.startswith("TI.")]
    if drawn:
        print(f"TI.* in equal shares: {len(drawn) / sum(1 / rate for rate in drawn):.1f} cases/s")


if __name__ == "__main__":
    main()
