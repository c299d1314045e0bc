"""The rules of quire-duo beside AugLy's text and image operators: same target, same seeds, same checks, same budget.

    QUIRE_DATA=... OMP_NUM_THREADS=1 python benchmarks/duo_augly.py --environment DIR [--pictures 12] [--seed 0] [--write]

AugLy 1.0.0 and what it needs are installed into a virtual environment under DIR, where its operators run in a process of
their own. Targets: TF-IDF with logistic regression on the SMS Spam Collection (see duo_text_target.py), and the same
behind tesseract. Seeds: the held-out spam that the target flags in plain form, of pictures the first `--pictures` of
them; controls: held-out benign messages of matched length. Each operator and each rule has one parameter point and makes
one case of every seed and one control beside it, and there are ten of each side, so that both may ask equally often (what
is dropped asks nothing, and is not made up for). AugLy's operators keep their defaults where no parameter is named; both
sides get the same list of keywords (AugLy's `priority_words`).

Equal validity means that every case, whoever made it, must pass the same checks before the target is asked, by the same
code, and that what does not pass is counted:
- V1, completeness: the seed's tokens are all there. Our rules' witnesses say where each stands. AugLy has no witness: an
  operator that only inserts or restyles must leave the seed's letters and digits exactly as they are once separators,
  styles and case are taken away; of one that replaces letters, the next line alone decides.
- Readability of texts: at least 0.8 of the seed's letters stand in the case in their order (longest common subsequence),
  where a character stands for itself and for all that it looks like, by our tables and AugLy's together.
- V2, legibility of pictures: text inside the canvas, letters at least 12 pixels high, a contrast of at least 3:1, at most
  30 % covered. AugLy's operators are applied to our screenshot and to the same without letters; corners and heights
  follow from the operator's geometry, contrast and cover from the two pictures.
No machine's reading decides: the share of words that tesseract reads is shown, but whoever dropped what it can't read
would drop what is looked for. For texts, the share of words left untouched shows how much a case was changed.

Cases per CPU second: making alone, on one thread, without checks, files and the target. AugLy changes a picture of the
text that someone must have drawn: our drawing of it is counted in.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from duo_peers.candidates import UNREADABLE, Candidate, Ours, Reader
from duo_peers.readable import look_alikes, recall
from duo_peers.with_augly import PEER, Augly, OperatorFailed, OverlaidText, PictureOperator, TextOperator
from duo_text_target import KEYWORDS, SpamFilter, messages
from PIL import Image
from sklearn.datasets import load_sample_images
from tsc_peers.environments import EnvironmentMissing, prepared

from quire.storage import write_json
from quire_duo.adapters import OcrText
from quire_duo.rule import find_rules
from quire_duo.seed_set import seeds_of
from quire_duo.seeds import Seed
from quire_duo.statistics import Rate
from quire_duo.tester import Duo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quire.model import Classifier
    from quire_duo.journal import Outcome
    from quire_duo.seed_set import SeedInfo, SeedSet

RESULTS = Path(__file__).parent / "results" / "duo_augly.json"
PRIORITY = {"priority_words": list(KEYWORDS)}
TEXT_OPERATORS: dict[str, tuple[dict[str, Any], bool]] = {  # parameters; whether it is reversible
    "simulate_typos": (PRIORITY, False),
    "replace_similar_chars": (PRIORITY, False),
    "replace_similar_unicode_chars": (PRIORITY, False),
    "insert_punctuation_chars": ({}, True),
    "insert_zero_width_chars": ({}, True),
    "split_words": (PRIORITY, True),
    "merge_words": (PRIORITY, True),
    "change_case": ({}, True),
    "replace_fun_fonts": (PRIORITY, True),
    "replace_bidirectional": ({}, True),
}
TEXT_RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "T.swap": ("T.swap", {}),
    "T.visual_sub digits": ("T.visual_sub", {"letters": "digits"}),
    "T.visual_sub cyrillic, all words": ("T.visual_sub", {"letters": "cyrillic", "scope": "all"}),
    "T.visual_split": ("T.visual_split", {}),
    "T.noise full stop": ("T.noise", {"separator": ".", "every": 2}),
    "T.noise zero width": ("T.noise", {"separator": "\u200b", "every": 2}),
    "T.word_split": ("T.word_split", {}),
    "T.mask": ("T.mask", {}),
    "T.benign_context 1+1": ("T.benign_context", {"n": 1}),
    "T.benign_context 5+5": ("T.benign_context", {"n": 5}),
}
STRIPES = {"line_width": 0.14, "line_color": [0, 0, 0], "line_density": 0.95}  # about one pixel in seven
PADDING = {"w_factor": 0.5, "h_factor": 2.0, "color": [255, 255, 255]}  # without it, `rotate` cuts text off
PICTURE_OPERATORS: dict[str, tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]] = {
    "rotate 15": ([("rotate", {"degrees": 15})], {"degrees": 15}),
    "pad, rotate 15": ([("pad", PADDING), ("rotate", {"degrees": 15})], {"degrees": 15}),
    "rotate 90": ([("rotate", {"degrees": 90})], {"degrees": 90}),
    "blur 2": ([("blur", {"radius": 2.0})], {}),
    "random_noise 0.01": ([("random_noise", {"var": 0.01})], {}),
    "encoding_quality 30": ([("encoding_quality", {"quality": 30})], {}),
    "overlay_stripes": ([("overlay_stripes", STRIPES)], {"overlays": True}),
    "overlay_text, its own text": ([("overlay_text", {})], {"overlays": True}),
}
PLAIN_PICTURE = {"rotate": 0}
PICTURE_RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "TI.screenshot": ("TI.screenshot", {}),
    "TI.caption_overlay": ("TI.caption_overlay", {}),
    "TI.scene tilt 10": ("TI.scene", {"tilt": 10}),
    "TI.watermark": ("TI.watermark", {}),
    "TI.degrade rotate 15": ("TI.degrade", {"rotate": 15}),
    "TI.degrade rotate 90": ("TI.degrade", {"rotate": 90}),
    "TI.degrade blur 2": ("TI.degrade", {**PLAIN_PICTURE, "blur": 2.0}),
    "TI.degrade noise 25": ("TI.degrade", {**PLAIN_PICTURE, "noise": 25.0}),
    "TI.degrade jpeg 30": ("TI.degrade", {**PLAIN_PICTURE, "jpeg": 30}),
    "TI.degrade lines 7": ("TI.degrade", {**PLAIN_PICTURE, "lines": 7}),
}
BROKEN = ("meme_format", "perspective_transform")
"""Image operators that are tried to see whether they still fail with the installed Pillow and NumPy."""


def ours(wanted: Mapping[str, tuple[str, dict[str, Any]]], like: Mapping[str, frozenset[str]]) -> list[Candidate]:
    return [Ours(name, find_rules((rule,))[0], parameters, like) for name, (rule, parameters) in wanted.items()]


def texts_of(augly: Augly) -> list[Candidate]:
    like = look_alikes(augly.tables["similar"])
    theirs = [
        TextOperator(augly, name, parameters, like, reversible=reversible)
        for name, (parameters, reversible) in TEXT_OPERATORS.items()
    ]
    return [*ours(TEXT_RULES, like), *theirs]


def pictures_of(augly: Augly) -> list[Candidate]:
    theirs = [
        PictureOperator(name, augly, operators, **options) for name, (operators, options) in PICTURE_OPERATORS.items()
    ]
    colours = {"red, its default": (255, 0, 0), "white": (255, 255, 255)}
    overlaid = [OverlaidText(f"overlay_text {name}", augly, colour) for name, colour in colours.items()]
    return [*ours(PICTURE_RULES, {}), *theirs, *overlaid]


def compare(
    target: Classifier, seeds: SeedSet, candidates: Sequence[Candidate], lexicon: Path, seed: int, reader: Reader
) -> dict[str, Any]:
    """One case of every seed by every candidate, with a control each."""
    tester = Duo(
        fusion_rules=candidates,
        lexicon=lexicon,
        validity=("V1", "V2"),
        i_have_rights=True,
        per_rule=2000,
        max_queries=None,
        workers=1,
        seed=seed,
    )
    report = tester.test(target, seeds)
    outcomes = [one for one in report.outcomes if one.rule != "identity"]
    return {
        "seeds": len(report.seeds_used),
        "rows": [row(candidate, outcomes, reader) for candidate in candidates],
        "tools": {
            tool: side([one for one in outcomes if one.rule.startswith("augly ") == (tool == "augly")])
            for tool in ("quire-duo", "augly")
        },
    }


def row(candidate: Candidate, outcomes: Sequence[Outcome], reader: Reader) -> dict[str, Any]:
    own = [one for one in outcomes if one.rule == candidate.id]
    toxic, controls = ([one for one in own if one.expected == kind] for kind in ("toxic", "benign"))
    read = [recall(text, seen, {}) for text, key in candidate.pictures if (seen := reader.known(key)) is not None]
    return {
        "name": candidate.id,
        "made_of": len(toxic),
        "efr": Rate.of(bool(one.error) for one in toxic if one.answered).to_json(),
        "dropped": dropped(toxic),
        "control_fpr": Rate.of(bool(one.flagged) for one in controls if one.answered).to_json(),
        "controls_dropped": dropped(controls),
        "queries": sum(one.asked for one in own),
        "words_untouched": float(np.mean(candidate.kept)) if candidate.kept else None,
        "letters_read_by_machine": float(np.mean(read)) if read else None,
        "cases_per_cpu_second": len(candidate.seconds) / sum(candidate.seconds) if candidate.seconds else None,
    }


def dropped(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many cases came to nothing, by why."""
    reasons = Counter(reason(one) for one in outcomes if not one.answered)
    return dict(sorted(reasons.items()))


def reason(outcome: Outcome) -> str:
    if outcome.status == "invalid":
        return outcome.reason.partition(":")[0]
    return UNREADABLE if outcome.reason.startswith(UNREADABLE) else "not made"


def side(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All cases of one tool. seeds: of those with a valid case, how many pass in at least one."""
    toxic = [one for one in outcomes if one.expected == "toxic" and one.answered]
    passing: dict[str, bool] = {}
    for one in toxic:
        passing[one.seed] = passing.get(one.seed, False) or bool(one.error)
    controls = [one for one in outcomes if one.expected == "benign" and one.answered]
    return {
        "efr": Rate.of(bool(one.error) for one in toxic).to_json(),
        "seeds": Rate.of(passing.values()).to_json(),
        "control_fpr": Rate.of(bool(one.flagged) for one in controls).to_json(),
        "made_of": sum(one.expected == "toxic" for one in outcomes),
        "queries": sum(one.asked for one in outcomes),
    }


def defects(augly: Augly, python: Path) -> dict[str, str]:
    """What fails, with the error."""
    found = {}
    for name in BROKEN:
        try:
            augly.images([Image.new("RGB", (64, 64))], [(name, {})])
        except OperatorFailed as error:
            found[name] = str(error).partition("\n")[0]
    blocked = "import sys; sys.modules['nlpaug'] = None; import augly.text"
    done = subprocess.run([str(python), "-W", "ignore", "-c", blocked], capture_output=True, text=True, check=False)
    if done.returncode:
        found["augly.text without nlpaug"] = done.stderr.strip().splitlines()[-1]
    return found


def show(title: str, part: dict[str, Any]) -> None:
    print(f"\n{title}: {part['seeds']} seeds\n")
    print("| rule or operator | n | dropped | EFR | control FPR | words untouched or letters read | cases / CPU s |")
    print("|---|---|---|---|---|---|---|")
    for one in part["rows"]:
        lost = ", ".join(f"{count} {why}" for why, count in one["dropped"].items()) or "-"
        shares = [one[key] for key in ("words_untouched", "letters_read_by_machine") if one[key] is not None]
        share = f"{shares[0]:.2f}" if shares else "-"
        rates = " | ".join(shown(one[key]) for key in ("efr", "control_fpr"))
        speed = "-" if one["cases_per_cpu_second"] is None else f"{one['cases_per_cpu_second']:.0f}"
        print(f"| {one['name']} | {one['efr']['n']} | {lost} | {rates} | {share} | {speed} |")
    for tool, all_of in part["tools"].items():
        print(f"\n{tool}: {all_of['queries']} queries; valid {all_of['efr']['n']} of {all_of['made_of']}; "
              f"EFR {shown(all_of['efr'])}; control FPR {shown(all_of['control_fpr'])}; "
              f"seeds that pass at least once {shown(all_of['seeds'])}")  # fmt: skip


def shown(rate: dict[str, Any]) -> str:
    return f"{rate['rate']:.3f} ({rate['low']:.2f} to {rate['high']:.2f})" if rate["n"] else "-"


def detected(target: Classifier, seeds: SeedSet) -> list[SeedInfo]:
    """The toxic seeds that the target flags as texts, in an order that depends on their ids alone."""
    toxic = sorted(seeds.select(toxic=True), key=lambda info: info.share())
    labels = target.predict([{"text": seeds.load(info).text} for info in toxic])
    return [info for info, label in zip(toxic, labels, strict=True) if label in target.toxic_labels]


def versions() -> dict[str, Any]:
    tesseract = subprocess.run(["tesseract", "--version"], capture_output=True, text=True, check=True).stdout
    own = {name: metadata.version(name) for name in ("quire-core", "quire-duo", "numpy", "pillow", "scikit-learn")}
    return {"python": platform.python_version(), "tesseract": tesseract.split()[1], "ours": own}


def measure(options: argparse.Namespace, python: Path, folder: Path) -> dict[str, Any]:
    train, test = messages(Path(os.environ["QUIRE_DATA"]) / "duo")
    target = SpamFilter().fit(train)
    seeds = seeds_of(test, {"spam"}, "ads")
    chosen, benign = detected(target, seeds), seeds.select(toxic=False)
    photographs = [Seed(f"photograph-{number}", "ads", False, "image", Image.fromarray(pixels))
                   for number, pixels in enumerate(load_sample_images().images)]  # fmt: skip
    few = seeds.only([*chosen[: options.pictures], *benign]).extended(photographs, ["ham"] * len(photographs))
    lexicon = folder / "lexicon.txt"
    lexicon.write_text("\n".join(KEYWORDS), encoding="utf-8")
    reader = Reader()
    with Augly(python, folder) as augly:
        return {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": versions() | {"augly": augly.tables["versions"]},
            "peer": {"installed": [*PEER.requirements], "note": PEER.note, "fails": defects(augly, python)},
            "texts": compare(target, seeds.only([*chosen, *benign]), texts_of(augly), lexicon, options.seed, reader),
            "pictures": compare(OcrText(target, reader), few, pictures_of(augly), lexicon, options.seed, reader),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, required=True, help="folder for AugLy's virtual environment")
    parser.add_argument("--pictures", type=int, default=12, help="seeds for pictures; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        python = prepared(options.environment, PEER)
    except EnvironmentMissing as error:
        raise SystemExit(f"AugLy can't be installed: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, python, Path(folder))
    show("Texts", results["texts"])
    show("Pictures", results["pictures"])
    for name, message in results["peer"]["fails"].items():
        print(f"\nAugLy's {name} fails: {message}")
    print(f"\n{time.perf_counter() - started:.0f} s")
    if options.write:
        write_json(RESULTS, results)


if __name__ == "__main__":
    main()
