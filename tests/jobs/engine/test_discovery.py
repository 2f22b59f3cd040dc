"""Test that actors are found without a list of modules, and that a mistake in a module is refused with what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.engine import registry
from jobs.engine.discovery import declare_all

Declare = Callable[..., None]
ACTOR = """
from jobs.engine import actor

@actor("toy.{name}")
def run() -> None:
    '''Do nothing.'''
"""


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary_actors: None) -> Declare:
    """Return a function that declares the actors of a package with these files."""

    def declare(files: dict[str, str]) -> None:
        package = f"toy_{tmp_path.name}"
        for name, text in {"__init__.py": "", **files}.items():
            file = tmp_path / package / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        declare_all(package, [str(tmp_path / package)], without=("engine",))

    return declare


def test_actors_of_modules_and_packages_are_declared(declared: Declare) -> None:
    packaged = {"mail/__init__.py": "", "mail/actors.py": ACTOR.format(name="mail"), "mail/smtp.py": "raise OSError"}

    declared({"notes.py": ACTOR.format(name="notes"), "_helper.py": "raise OSError", "engine.py": "", **packaged})

    assert registry.find("toy.notes")
    assert registry.find("toy.mail")


def test_module_without_actor_is_refused_with_what_to_do(declared: Declare) -> None:
    with pytest.raises(
        TypeError, match=r'/notes\.py declares no actor: add a function with `@actor\("subject\.verb"\)`'
    ):
        declared({"notes.py": "from jobs.audiences.actors import upsert_contact"})


def test_package_without_actors_is_refused_with_what_to_do(declared: Declare) -> None:
    with pytest.raises(TypeError, match=r"/mail/ has no module for its actors: declare them in \S+/mail/actors\.py"):
        declared({"mail/__init__.py": "", "mail/smtp.py": ACTOR.format(name="mail")})
