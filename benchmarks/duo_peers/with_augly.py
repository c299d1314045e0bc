"""AugLy's operators as rules: its process, and witnesses of where the text stands in what it made."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image
from tsc_peers.environments import Peer

from duo_peers.candidates import Candidate
from duo_peers.readable import letters
from quire.errors import QuireError
from quire_duo.contrast import drawn_contrast, local_contrast, pixels_inside
from quire_duo.drawing import benign_picture, pixels, quad_of
from quire_duo.fonts import capital_share, load, missing
from quire_duo.fragments import plain
from quire_duo.layout import wrap
from quire_duo.rule import Fused
from quire_duo.rules.images import BENIGN_PICTURE, Screenshot
from quire_duo.rules.text import TOXIC_TEXT
from quire_duo.seeds import NotApplicable
from quire_duo.warp import carried, rotation
from quire_duo.witness import ImageRegion, TextSpan, Unit, Witness, tokens_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quire_duo.drawing import Picture
    from quire_duo.fragments import Fragment
    from quire_duo.seeds import Seed
    from quire_duo.witness import RGB
    from quire_duo.workshop import Workshop

PEER = Peer(
    "augly",
    ("augly==1.0.0", "nlpaug==1.1.3", "pandas", "requests", "numpy==2.4.6", "pillow==13.0.0"),
    note="its extra 'image' wants Pillow < 9, which has no wheel for Python 3.11, and torch; nlpaug, without which "
    "augly.text can't be imported, is of the version that its extra 'text' names",
)
WORKER = Path(__file__).with_name("augly_worker.py")


class OperatorFailed(QuireError):
    """AugLy raised an exception; the text is its. Such a case counts as one that could not be made."""


class Augly:
    """AugLy's process. `folder` is where pictures are handed over."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "augly.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )
        self.tables = self._ask({"tables": True})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def text(self, text: str, operator: str, parameters: Mapping[str, Any], seed: int) -> tuple[str, float]:
        """The text that an operator makes, and its CPU seconds."""
        made = self._ask({"text": text, "operator": operator, "parameters": dict(parameters), "seed": seed})
        return made["text"], made["seconds"]

    def images(
        self, images: Sequence[Image.Image], operators: Sequence[tuple[str, Mapping[str, Any]]], seed: int = 0
    ) -> tuple[list[Image.Image], float]:
        """What operators, one after another, make of each image, and the CPU seconds of the first."""
        given = [self._folder / f"in-{number}.png" for number in range(len(images))]
        out = [self._folder / f"out-{number}.png" for number in range(len(images))]
        for image, path in zip(images, given, strict=True):
            image.save(path)
        asked = {"images": list(map(str, given)), "out": list(map(str, out)), "operators": operators, "seed": seed}
        seconds = self._ask(asked)["seconds"]
        made = []
        for path in out:
            with Image.open(path) as image:
                made.append(image.convert("RGB"))
        return made, seconds

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(message), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            self._log.flush()
            lines = Path(self._log.name).read_text(encoding="utf-8").strip().splitlines() or ["no message"]
            raise OperatorFailed(f"AugLy's process has ended: {lines[-1]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise OperatorFailed(answer["error"])
        return answer


class TextOperator(Candidate):
    """A text operator. reversible: it only inserts, or changes case and style, so that V1 can be checked to the letter."""

    def __init__(
        self,
        augly: Augly,
        operator: str,
        parameters: Mapping[str, Any],
        like: Mapping[str, frozenset[str]],
        *,
        reversible: bool,
    ) -> None:
        super().__init__(f"augly {operator}", (TOXIC_TEXT,), frozenset({"text"}), like)
        self._augly, self._operator, self._parameters = augly, operator, parameters
        self._reversible = reversible

    def make(
        self, parts: Mapping[str, Sequence[Seed]], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fused, float]:
        seed = parts["toxic"][0]
        text, seconds = self._augly.text(seed.text, self._operator, self._parameters, int(rng.integers(2**31)))
        if text == seed.text:
            raise NotApplicable("the operator changed nothing")
        whole = not self._reversible or letters(text) == letters(seed.text)
        unit = Unit(TextSpan(0, len(text)), seed.tokens if whole else tokens_of(text), surface=text)
        return Fused({"text": text}, Witness((unit,))), seconds


class PictureOperator(Candidate):
    """Image operators on our plain screenshot of the seed. Its time counts as theirs: it takes both to make a case.

    The witness is the screenshot's under the operators' geometry, which keeps the centre: `degrees` of rotation, then
    what is cut off or added on all sides alike. They also change the screenshot without letters, against which contrast
    is measured; of what `overlays`, one sees there how much of a line it covers.
    """

    def __init__(
        self,
        name: str,
        augly: Augly,
        operators: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        degrees: float = 0.0,
        overlays: bool = False,
    ) -> None:
        super().__init__(f"augly {name}", (TOXIC_TEXT,), frozenset({"image"}), {})
        self._augly, self._operators = augly, operators
        self._degrees, self._overlays = degrees, overlays
        self._screenshot = Screenshot()

    def make(
        self, parts: Mapping[str, Sequence[Seed]], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fused, float]:
        started = time.thread_time()
        drawn = self._screenshot.picture(parts, self._screenshot.check({}), rng, workshop)
        drawing = time.thread_time() - started
        made, seconds = self._augly.images([drawn.image, drawn.backdrop], self._operators)
        image, backdrop = made
        matrix, turned = rotation(self._degrees, drawn.image.size)
        shift = np.eye(3)
        shift[:2, 2] = (image.width - turned[0]) / 2, (image.height - turned[1]) / 2
        units = tuple(self._seen(carried(unit, shift @ matrix, self._degrees), drawn, image, backdrop)
                      for unit in drawn.units)  # fmt: skip
        return Fused({"image": image}, Witness(units)), drawing + seconds

    def _seen(self, unit: Unit, drawn: Picture, image: Image.Image, backdrop: Image.Image) -> Unit:
        region = unit.place
        assert isinstance(region, ImageRegion)
        if (
            self._overlays
        ):  # what is laid over letters covers them, and is no background of theirs, as in our TI.degrade
            before, after = pixels_inside(drawn.backdrop, region.quad), pixels_inside(backdrop, region.quad)
            return replace(unit, place=replace(region, covered=float((before != after).any(axis=1).mean())))
        seen = drawn_contrast(image, backdrop, backdrop, region.quad)
        return replace(unit, place=replace(region, contrast=seen))


class OverlaidText(Candidate):
    """overlay_text with the whole seed on a benign picture, in letters as large as our screenshot's.

    AugLy neither breaks lines nor fits them: the benchmark does, and gives it the numbers of the characters in a font of
    AugLy's that has Latin letters.
    """

    SIZE, LEADING = 24, 5  # pixels; the leading is AugLy's

    def __init__(self, name: str, augly: Augly, colour: RGB) -> None:
        super().__init__(f"augly {name}", (TOXIC_TEXT, BENIGN_PICTURE), frozenset({"image"}), {})
        self._augly, self._colour = augly, colour
        self._font = Path(augly.tables["font"])
        self._numbers = {char: number for number, char in enumerate(augly.tables["characters"])}

    def make(
        self, parts: Mapping[str, Sequence[Seed]], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fused, float]:
        picture = benign_picture(parts["picture"][0], workshop)
        lines = wrap(plain(parts["toxic"][0].tokens), self._font, self.SIZE, picture.width).lines
        lacking = {char for line in lines for char in line.surface} - self._numbers.keys()
        if lacking:
            raise NotApplicable(f"AugLy's font has no number for {len(lacking)} of the characters")
        parameters = {
            "text": [[self._numbers[char] for char in line.surface] for line in lines],
            "font_file": str(self._font),
            "font_size": (self.SIZE + 0.01) / min(picture.size),
            "color": self._colour,
            "y_pos": 0.0,
        }
        (image,), seconds = self._augly.images([picture], [("overlay_text", parameters)])
        units = tuple(self._unit(line, number, picture) for number, line in enumerate(lines))
        return Fused({"image": image}, Witness(units)), seconds

    def _unit(self, line: Fragment, number: int, picture: Image.Image) -> Unit:
        left, top, right, bottom = load(self._font, self.SIZE).getbbox(line.surface)
        down = number * (self.SIZE + self.LEADING)
        box = (int(left), int(top) + down, int(right), int(bottom) + down)
        region = ImageRegion(
            quad_of(box),
            glyph_height=self.SIZE * capital_share(self._font),
            colour=self._colour,
            contrast=local_contrast(self._colour, pixels(picture, box)),
            missing=missing(line.surface, self._font),
        )
        return line.at(region)
