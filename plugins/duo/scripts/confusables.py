"""Writes the table in src/quire_duo/confusables.py: Latin letters and the Greek and Cyrillic letters that look like them.

    pip install confusable-homoglyphs==3.3.1 && python scripts/confusables.py

confusable-homoglyphs holds the data of Unicode's security mechanisms (confusables.txt) as JSON. Kept are single
characters of the two alphabets' own blocks, in the case of the Latin letter; of several the first, since the later ones
are archaic or regional forms that fewer fonts have.
"""

from __future__ import annotations

import json
from importlib.resources import files
from string import ascii_letters

BLOCKS = {"GREEK": range(0x370, 0x400), "CYRILLIC": range(0x400, 0x530)}
EXTRA = {("CYRILLIC", "w"): "\u051d", ("GREEK", "J"): ""}
"""Corrections: we for w instead of the archaic omega; no yot for J, which is younger than most fonts."""


def table(alphabet: str) -> dict[str, str]:
    """Latin letter -> its look-alike."""
    data = json.loads(files("confusable_homoglyphs").joinpath("confusables.json").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for letter in ascii_letters:
        alike = [
            entry["c"]
            for entry in data.get(letter, [])
            if len(entry["c"]) == 1 and ord(entry["c"]) in BLOCKS[alphabet] and entry["c"].isupper() == letter.isupper()
        ]
        chosen = EXTRA.get((alphabet, letter), alike[0] if alike else "")
        if chosen:
            found[letter] = chosen
    return found


if __name__ == "__main__":
    for alphabet in BLOCKS:
        entries = table(alphabet)
        print(f'{alphabet} = dict(zip("{"".join(entries)}", "{"".join(entries.values())}", strict=True))')
