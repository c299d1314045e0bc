"""What degraded pictures of spam do to a spam filter that reads with tesseract, beside reference figures.

    QUIRE_DATA=... OMP_NUM_THREADS=1 python benchmarks/duo_image_target.py [--many 30] [--few 12] [--write]

The target is the text target of duo_text_target.py behind OcrText. Seeds: held-out spam that the text target flags, the
same for every row of a size. EFR is of all cases, also those that are not legible to people (V2), so that it can be
compared with the reference figures, which are those of an implementation of the same protocol apart from this one, of one
seed; the column "illegible" says how many cases a usual run would drop before the target is asked. Two rows are no rules:
one word per line is drawn here, and half a message is no whole seed (V1). How strong the noise of the reference was is
not known; here it has a standard deviation of 25 grey levels. `--write` makes benchmarks/results/duo_image_target.json.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duo_augly import PLAIN_PICTURE, detected, shown, versions
from duo_peers.candidates import Ours, Reader
from duo_text_target import SpamFilter, messages
from PIL import Image

from quire.storage import write_json
from quire_duo.adapters import OcrText
from quire_duo.drawing import Ink, Picture, Sheet
from quire_duo.fonts import font_for
from quire_duo.fragments import plain
from quire_duo.layout import Block, length_of, pitch
from quire_duo.rule import FusionRule, find_rules
from quire_duo.rules.images import Screenshot
from quire_duo.seed_set import seeds_of
from quire_duo.statistics import Rate
from quire_duo.tester import Duo
from quire_duo.validity.legibility import faults_of, region_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from quire.model import Classifier
    from quire_duo.rule import Fused
    from quire_duo.seed_set import SeedInfo, SeedSet
    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

RESULTS = Path(__file__).parent / "results" / "duo_image_target.json"


class WordPerLine(Screenshot):
    """Every word in a line of its own."""

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        fragments = plain(parts["toxic"][0].tokens)
        size, margin = float(parameters["size"]), int(parameters["margin"])
        font = font_for(parts["toxic"][0].text, workshop)
        widest = max(length_of(one.surface, font, size) for one in fragments)
        block = Block(fragments, font, size, widest, pitch(font, size))
        sheet = Sheet(Image.new("RGB", (int(parameters["width"]), block.height + 2 * margin), "white"))
        sheet.write(block, (margin, margin, margin + widest, sheet.ground.height), Ink())
        return sheet.picture()


class SecondHalf(Screenshot):
    """The second half of the words alone."""

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        whole = parts["toxic"][0]
        half = replace(whole, value=" ".join(whole.tokens[len(whole.tokens) // 2 :]))
        return super().picture({"toxic": (half,)}, parameters, rng, workshop)


MANY: dict[str, tuple[str | FusionRule, dict[str, Any], float]] = {  # rule, parameters, the reference's EFR
    "TI.screenshot": ("TI.screenshot", {}, 0.0),
    "noise": ("TI.degrade", {**PLAIN_PICTURE, "noise": 25.0}, 0.033),
    "grey 225 on white": ("TI.screenshot", {"ink": "#e1e1e1"}, 0.0),
    "rotated by 15 degrees": ("TI.degrade", {"rotate": 15}, 0.467),
    "rotated by 90 degrees": ("TI.degrade", {"rotate": 90}, 0.967),
}
FEW: dict[str, tuple[str | FusionRule, dict[str, Any], float]] = {
    "TI.screenshot": ("TI.screenshot", {}, 0.0),
    "9 pixels per em": ("TI.screenshot", {"size": 9}, 0.083),
    "blurred, sigma 2": ("TI.degrade", {**PLAIN_PICTURE, "blur": 2.0}, 0.0),
    "one word per line": (WordPerLine(), {}, 0.0),
    "second half only": (SecondHalf(), {}, 0.083),
    "a line every 7 pixels": ("TI.degrade", {**PLAIN_PICTURE, "lines": 7}, 1.0),
}


class Watched(Ours):
    """Notes of which seeds the cases are not legible to people."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.illegible: set[str] = set()

    def make(
        self, parts: Mapping[str, Sequence[Seed]], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fused, float]:
        made, seconds = super().make(parts, rng, workshop)
        regions = [region for unit in made.witness.units if (region := region_of(unit)) is not None]
        if any(faults_of(region, made.content["image"].size) for region in regions):
            self.illegible.add(parts["toxic"][0].id)
        return made, seconds


def measure(
    wanted: Mapping[str, tuple[str | FusionRule, dict[str, Any], float]],
    target: Classifier,
    seeds: SeedSet,
    chosen: Sequence[SeedInfo],
) -> list[dict[str, Any]]:
    candidates = [
        Watched(name, find_rules((rule,))[0] if isinstance(rule, str) else rule, parameters, {})
        for name, (rule, parameters, _) in wanted.items()
    ]
    tester = Duo(
        fusion_rules=candidates,
        validity=(),
        controls=False,
        seed_filter="all",
        i_have_rights=True,
        per_rule=2000,
        max_queries=None,
        workers=1,
    )
    outcomes = tester.test(target, seeds.only(chosen)).outcomes
    return [
        {
            "name": candidate.id,
            "efr": Rate.of(bool(one.error) for one in outcomes if one.rule == candidate.id and one.answered).to_json(),
            "not_made": sum(one.rule == candidate.id and not one.answered for one in outcomes),
            "illegible": len(candidate.illegible),
            "reference": wanted[candidate.id][2],
        }
        for candidate in candidates
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=30, help="seeds of the first rows; default: %(default)s")
    parser.add_argument("--few", type=int, default=12, help="seeds of the others; default: %(default)s")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    started = time.perf_counter()
    train, test = messages(Path(os.environ["QUIRE_DATA"]) / "duo")
    text_target = SpamFilter().fit(train)
    seeds = seeds_of(test, {"spam"}, "ads")
    chosen = detected(text_target, seeds)
    target = OcrText(text_target, Reader())  # which reads a picture once
    rows = measure(MANY, target, seeds, chosen[: options.many])
    rows += measure(FEW, target, seeds, chosen[: options.few])[1:]
    print("| pictures | n | illegible (V2) | EFR | reference |\n|---|---|---|---|---|")
    for one in rows:
        print(
            f"| {one['name']} | {one['efr']['n']} | {one['illegible']} | {shown(one['efr'])} | {one['reference']:.3f} |"
        )
    print(f"\n{time.perf_counter() - started:.0f} s")
    if options.write:
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        write_json(RESULTS, {"date": date, "versions": versions(), "rows": rows})


if __name__ == "__main__":
    main()
