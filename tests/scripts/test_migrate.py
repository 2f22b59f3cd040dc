"""Tests of the command line of `./scripts/migrate`."""

import pytest

from scripts.commands.migrate import main as migrate


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--dry-run", 2)])
def test_migrate_with_help_or_unknown_option_migrates_nothing(argument, status, capsys):
    with pytest.raises(SystemExit) as ended:
        migrate.main([argument])

    assert ended.value.code == status
    assert "usage: scripts/migrate" in "".join(capsys.readouterr())
