"""`./scripts/lock`: write the lock files from setup.cfg, for every platform, with hashes and without index URLs."""

from scripts.devstack.environment import ROOT, VENV
from scripts.devstack.progress import run

COMMON = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--quiet"]
WITHOUT = ["--override", "requirements/without.txt"]
LOCKS = {
    "runtime": ["setup.cfg", *WITHOUT],
    "dev": ["setup.cfg", "--extra", "dev", "--constraint", "requirements/runtime.txt", *WITHOUT],
    "uv": ["requirements/uv.in"],
}


def main(argv: list[str]) -> int:
    """Resolve the dependencies. Arguments go to `uv pip compile` (`--upgrade`, `--upgrade-package NAME`)."""
    for name, sources in LOCKS.items():
        output = ["--output-file", f"requirements/{name}.txt", "--custom-compile-command", "./scripts/lock"]
        command = [str(VENV / "bin" / "uv"), "pip", "compile", *sources, *COMMON, *output, *argv]
        run(f"Resolving {name}", command, cwd=str(ROOT))
    return 0
