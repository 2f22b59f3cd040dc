"""Import contacts beside COPY of the same rows: `python -m scripts.commands.bench.import_calls ROWS`."""

import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psutil
import psycopg2
from psycopg2.extensions import connection

from models.audiences.transfer import batches, exports, fields, imports, writing
from models.audiences.transfer.batches import Preparer
from models.audiences.transfer.imports import Opened
from models.core import context
from models.core.database import new_id, transaction
from settings import settings

COLUMNS = ("external_id", "email", "name", "city", "country", "phone")
_NAMES = ("Ana", "Begoña", "Carla", "Diego", "Elena", "Íñigo", "Julia", "Marta", "Pablo", "Sofía")
_CITIES = ("Madrid", "Málaga", "León", "Sevilla", "Bilbao")
_IMPORT = """
    insert into public.contact_imports (id, brand_id, asset_id, filename, format, state, dry_run, match_keys, overwrite,
        day_first, decimal_comma, job_id, created_at)
    values (%s, %s, gen_random_uuid(), 'bench.csv', 'csv', 'running', false, '{email}', 'all', true, false,
        gen_random_uuid(), now())
"""


class Growth:
    """Memory of this process in MB, beyond that after the first batches."""

    def __init__(self) -> None:
        self._seen: list[float] = []

    def look(self) -> None:
        """Read the memory in use."""
        self._seen.append(psutil.Process().memory_info().rss / 1e6)

    @property
    def most(self) -> float:
        """Greatest growth after the first five readings."""
        return max(self._seen) - max(self._seen[:5]) if len(self._seen) > 5 else 0.0


def lines(rows: int, *, phone: bool) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table of contacts."""
    for n in range(rows):
        line = (f"C-{n}", f"person.{n}@people{n % 97}.es", f"{_NAMES[n % 10]} {n}", _CITIES[n % 5], "ES")
        yield (*line, f"+346{n:08d}") if phone else line


def write(path: Path, rows: int, *, phone: bool) -> None:
    """Write the table as a file to import."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS if phone else COLUMNS[:-1])
        table.writerows(lines(rows, phone=phone))


def copy(db: connection, brand_id: UUID, path: Path, *, phone: bool) -> float:
    """COPY the rows into the contacts of a brand. Return the seconds."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file, path.open(encoding="utf-8") as table:
        reader = csv.reader(table)
        next(reader)
        csv.writer(file).writerows((str(brand_id), str(new_id()), *row) for row in reader)
        file.seek(0)
        names = ", ".join(COLUMNS if phone else COLUMNS[:-1])
        begun = time.perf_counter()
        with db, db.cursor() as cursor:
            cursor.copy_expert(f"copy public.contacts (brand_id, id, {names}) from stdin csv", file)
        return time.perf_counter() - begun


def run_import(db: connection, brand_id: UUID, path: Path, growth: Growth) -> float:
    """Import the file as its job does. Return the seconds."""
    import_id = new_id()
    with db, db.cursor() as cursor:
        cursor.execute(_IMPORT, (import_id, brand_id))
    identity = context.for_brand_job(brand_id)
    begun = time.perf_counter()
    with transaction(identity):
        one = imports.get(import_id)
        known = fields.of_brand()
    opened: Opened = imports.open_file(one, path, known)
    for batch in Preparer(opened, one.conventions).batches(opened, position=0, number=0):
        with transaction(identity, timeout=600.0):
            assert batches.apply(one, batch)
        growth.look()
    took = time.perf_counter() - begun
    with transaction(identity, timeout=600.0):
        imports.finish(import_id, None)
        found = imports.get(import_id)
    assert found.created == found.row_number, f"{found.created} of {found.row_number} rows created contacts"
    return took


def run_export(brand_id: UUID, path: Path, growth: Growth) -> float:
    """Export the contacts of a brand to CSV as its job does. Return the seconds."""
    identity, begun, after = context.for_brand_job(brand_id), time.perf_counter(), None
    one = exports.ContactExport(brand_id=brand_id, segment_id=None, tag=None)
    with transaction(identity):
        columns = {name: field.type for name, field in exports.columns().items()}
    with writing.writer("csv", path, columns) as written:
        while True:
            with transaction(identity, timeout=600.0):
                found = exports.page(one, after)
            if not found:
                return time.perf_counter() - begun
            written.write([exports.cells(contact, list(columns)) for contact in found])
            after = found[-1]["id"]
            growth.look()


def main(rows: int) -> None:
    """Print seconds, ratios and memory."""
    numbers: dict[str, float] = {}
    with closing(psycopg2.connect(settings.database_direct_url)) as db, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        for phone, suffix in ((False, ""), (True, "_with_phone")):
            write(path, rows, phone=phone)
            growth, exported = Growth(), Growth()
            copied = copy(db, _brand(db), path, phone=phone)
            brand_id = _brand(db)
            took = run_import(db, brand_id, path, growth)
            numbers |= {
                f"ratio_copy{suffix}": round(copied / took, 3),
                f"import_per_second{suffix}": round(rows / took),
            }
            numbers[f"import_growth_mb{suffix}"] = round(growth.most, 1)
        numbers["export_per_second"] = round(rows / run_export(brand_id, path, exported))
        numbers["export_growth_mb"] = round(exported.most, 1)
    print(json.dumps(numbers))


def _brand(db: connection) -> UUID:
    """Create a brand, and bring the statistics of all contacts up to date."""
    with db, db.cursor() as cursor:
        cursor.execute("insert into public.brands (name) values ('Bench ' || gen_random_uuid()) returning id")
        (brand_id,) = cursor.fetchone() or (None,)
    db.autocommit = True
    with db.cursor() as cursor:
        cursor.execute("analyze public.contacts")
    db.autocommit = False
    assert isinstance(brand_id, UUID)
    return brand_id


if __name__ == "__main__":
    main(int(sys.argv[1]))
