"""Form of SQL files."""

from scripts.devstack.environment import ROOT

MAX_COLUMNS = 120
FOLDERS = ("models", "scripts", "tests")


def test_sql_lines_end_at_120_columns():
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.sql"))]
    assert len(files) > 30

    long = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if len(line) > MAX_COLUMNS
    ]

    assert long == []
