"""Tests of the virtual environment: a stamp marks a complete one; an incomplete one is created again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.devstack import environment, progress

pytestmark = pytest.mark.xdist_group("environment")


@pytest.fixture(scope="module")
def created(tmp_path_factory):
    """Return a checkout with empty lock files and an environment."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "requirements").mkdir()
    for lock in ("runtime", "dev", "uv"):
        (root / "requirements" / f"{lock}.txt").write_text(f"# {lock}\n")
    with pytest.MonkeyPatch.context() as patch:
        use_checkout(patch, root)
        environment.ensure("runtime")
    return root


@pytest.fixture
def checkout(created, tmp_path, monkeypatch):
    """Return the checkout's requirements and a substitute of its environment."""
    shutil.copytree(created / "requirements", tmp_path / "requirements")
    use_checkout(monkeypatch, tmp_path)
    monkeypatch.setattr(environment, "_create", lambda: shutil.copytree(created / ".venv", tmp_path / ".venv", True))
    monkeypatch.setattr(environment, "_install", lambda lock: None)
    environment.ensure("runtime")
    return tmp_path


def use_checkout(patch, root):
    patch.setattr(progress.output, "streams", [])
    patch.setattr(environment, "ROOT", root)
    patch.setattr(environment, "VENV", root / ".venv")
    patch.setattr(environment, "PYTHON", root / ".venv" / "bin" / "python")
    patch.setattr(environment, "STAMP", root / ".venv" / "companon.json")


def test_environment_of_new_checkout_is_ready(created, monkeypatch):
    use_checkout(monkeypatch, created)

    assert environment.ready("runtime")
    assert environment.PYTHON.exists()


def test_environment_of_dev_lock_is_ready_for_runtime_too(checkout):
    before = (environment.ready("runtime"), environment.ready("dev"))
    environment.ensure("dev")

    assert before == (True, False)
    assert (environment.ready("runtime"), environment.ready("dev")) == (True, True)


def test_environment_with_changed_lock_file_is_not_ready(checkout):
    (checkout / "requirements" / "runtime.txt").write_text("# newer")

    assert not environment.ready("runtime")


def test_environment_after_interrupted_installation_is_not_ready(checkout, monkeypatch):
    def interrupted(lock):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "_install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.ensure("dev")

    assert not environment.ready("runtime")
    assert not environment.ready("dev")


def test_environment_copied_from_another_checkout_is_not_ready(checkout, tmp_path_factory, monkeypatch):
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    shutil.copytree(checkout, copy, symlinks=True)

    use_checkout(monkeypatch, copy)

    assert not environment.ready("runtime")


def test_link_to_environment_is_ready_with_the_same_lock_only(checkout, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("linked")
    shutil.copytree(checkout / "requirements", other / "requirements")
    (other / ".venv").symlink_to(checkout / ".venv")
    use_checkout(monkeypatch, other)

    same = environment.ready("runtime")
    (other / "requirements" / "runtime.txt").write_text("# newer")

    assert (same, environment.ready("runtime")) == (True, False)


def test_environment_without_its_python_is_not_ready(checkout):
    environment.PYTHON.unlink()
    environment.PYTHON.symlink_to("/nowhere/python")

    assert not environment.ready("runtime")


def test_bytecode_with_dontwritebytecode_is_kept_in_environment(checkout, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)

    environment.keep_bytecode()

    program = "import wave; print(wave.__cached__)"
    kept = Path(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout[:-1])
    assert kept.is_relative_to(checkout / ".venv")
    assert kept.exists()


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_environment_that_is_a_symbolic_link_is_refused(created, tmp_path, monkeypatch, target):
    shutil.copytree(created / "requirements", tmp_path / "requirements")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".venv").symlink_to(tmp_path / target)
    use_checkout(monkeypatch, tmp_path)

    with pytest.raises(progress.SetupError, match="is a symbolic link") as refused:
        environment.ensure("runtime")

    assert len(str(refused.value).splitlines()) == 1
    assert (tmp_path / ".venv").is_symlink()
    assert (tmp_path / "elsewhere").is_dir()
