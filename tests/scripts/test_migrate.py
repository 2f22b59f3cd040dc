"""`./scripts/migrate`, as a person calls it."""

import pytest

from scripts.commands.migrate import main as migrate


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--dry-run", 2)])
def test_whoever_asks_for_help_or_for_what_there_is_not_migrates_nothing(argument, status, capsys):
    with pytest.raises(SystemExit) as ended:
        migrate.main([argument])

    assert ended.value.code == status
    assert "usage: scripts/migrate" in "".join(capsys.readouterr())
