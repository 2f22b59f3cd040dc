"""HTTP counterpart of the test service `echo`: it stores notes, and refuses one text."""

import sqlite3
from typing import Any

from tests.counterparts.server import Refused, main

SCHEMA = "create table notes (id integer primary key, text text)"


def note(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Store a note."""
    if request["text"] == "full":
        raise Refused("conflict", "The notebook is full.")
    number = database.execute("insert into notes (text) values (?) returning id", (request["text"],)).fetchone()[0]
    return {"number": number, "text": request["text"]}


if __name__ == "__main__":
    main({"note": note}, SCHEMA)
