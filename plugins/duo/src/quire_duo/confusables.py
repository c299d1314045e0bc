"""Characters and pairs of characters that look like others.

GREEK and CYRILLIC come from Unicode's confusables (Unicode Technical Standard 39) by scripts/confusables.py, under the
licence in LICENSE-UNICODE, as does "rn" for "m".
"""

from __future__ import annotations

GREEK = dict(zip("acijopuvyABCEFHKMNOPTXYZ", "αϲιϳορυνγΑΒϹΕϜΗΚΜΝΟΡΤΧΥΖ", strict=True))
CYRILLIC = dict(zip("acdehijopqrsvwxyABCEGHJKMOPSTVWXY", "асԁеһіјорԛгѕѵԝхуАВСЕԌНЈКМОРЅТѴԜХУ", strict=True))
DIGITS = dict(zip("abegilostzBEIOSTZ", "48391105728310572", strict=True))
"""Digits in the place of letters, as people write them."""

LOOK_ALIKES: dict[str, dict[str, str]] = {"cyrillic": CYRILLIC, "greek": GREEK, "digits": DIGITS}

TWO_FOR_ONE = {"b": "lo", "d": "cl", "m": "rn", "w": "vv", "H": "I-I", "W": "VV"}
"""A letter -> glyphs side by side that look like it."""

ONE_FOR_TWO = {"rn": "m", "nn": "m", "vv": "w", "cl": "d", "lo": "b", "VV": "W"}
"""Two glyphs side by side -> a letter that looks like them."""
