"""The kinds of margins by name."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from quire.errors import ConfigError, Where, nearest
from quire_amsoftmax.heads.adaface import AdaFace
from quire_amsoftmax.heads.amsoftmax import AMSoftmaxMargin
from quire_amsoftmax.heads.arcface import ArcFace
from quire_amsoftmax.heads.combined import Combined
from quire_amsoftmax.heads.curricularface import CurricularFace
from quire_amsoftmax.heads.elastic import Elastic
from quire_amsoftmax.heads.magface import MagFace
from quire_amsoftmax.heads.normface import NormFace
from quire_amsoftmax.heads.softmax import Softmax
from quire_amsoftmax.heads.sphereface import SphereFace
from quire_amsoftmax.heads.subcenter import SubCenter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quire_amsoftmax.heads.margin import Margin, MarginSchedule

MARGINS: dict[str, type[Margin]] = {
    kind.kind: kind
    for kind in (
        Softmax,
        NormFace,
        AMSoftmaxMargin,
        SphereFace,
        ArcFace,
        Combined,
        SubCenter,
        CurricularFace,
        AdaFace,
        MagFace,
        Elastic,
    )
}


def make_margin(kind: str, margin: float | None, schedule: MarginSchedule | None, options: Mapping[str, Any]) -> Margin:
    """The margin of a kind; ConfigError for an option that it does not have."""
    known = [name for name in inspect.signature(MARGINS[kind]).parameters if name not in ("margin", "schedule")]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"the head {kind} has no option {name!r}{nearest(name, known)}",
                where=Where(field=name),
                remedy=f"It has: {', '.join(known) or 'none but those of every head'}.",
            )
    return MARGINS[kind](margin, schedule, **options)
