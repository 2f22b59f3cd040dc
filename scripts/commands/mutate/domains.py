"""Which files faults are put into by default, and which tests belong to a file."""

from collections.abc import Iterator
from pathlib import Path

MIGRATIONS = Path("models/supabase/migrations")
DEFAULT_PATHS = (
    "models/audit/chain.py",
    "models/core/_connection.py",
    "models/core/context.py",
    "models/core/database.py",
    "models/identity",
    "models/jobs",
    "models/scans",
    "models/tenants",
    "web/http",
    *(
        f"{MIGRATIONS}/*_{name}*.sql"
        for name in ("identity", "jobs", "scans", "tenants", "tenancy", "audit_chain", "audit_sealing")
    ),
)
"""Limits, tenancy, ledger, audit chain, identity, fraud and the endpoint framework; globs relative to the checkout."""
DOMAINS = {
    "metrics": "operations",
    "readiness": "operations",
    "refusals": "audit",
    "requests": "core",
    "tenancy": "tenants",
}
"""Domains of migrations whose names do not begin with their domain."""
EXTRA_TESTS = {
    "core": ("tests/rls",),
    "identity": ("tests/jobs/mail",),
    "tenants": ("tests/rls",),
    "jobs": ("tests/jobs/engine",),
    "http": ("tests/contract",),
    "scans": ("tests/jobs/test_insights.py",),
}
"""Tests of a domain in files and directories of other names."""


def files(root: Path, patterns: list[str]) -> list[Path]:
    """Return the Python and SQL files that the patterns name: files, directories or globs, relative to `root`."""
    found = {path.relative_to(root) for pattern in patterns for path in _matching(root, pattern)}
    return sorted(path for path in found if path.name != "__init__.py" or (root / path).read_text().count("\n") > 20)


def _matching(root: Path, pattern: str) -> Iterator[Path]:
    for path in root.glob(pattern.rstrip("/")):
        for candidate in path.rglob("*") if path.is_dir() else [path]:
            if candidate.suffix in {".py", ".sql"}:
                yield candidate


def domain(path: Path) -> str:
    """Return the domain that owns a file: the name of its package, or the first word of a migration's name."""
    if path.suffix == ".sql":
        word = path.stem.split("_")[1]
        return DOMAINS.get(word, word)
    parts = [part for part in path.with_suffix("").parts if part != "v1"]
    return parts[1] if len(parts) > 1 else parts[0]


def tests(root: Path, path: Path) -> list[str]:
    """Return the tests of a file, those that bear its name first, as arguments for pytest."""
    name = domain(path)
    places = [root / "tests" / layer / name for layer in ("models", "jobs", "web/v1", "web", "schedules")]
    places += [root / extra for extra in EXTRA_TESTS.get(name, ())]
    modules = [
        *(module for place in places for module in ([place] if place.is_file() else sorted(place.rglob("test_*.py")))),
        *sorted((root / "tests").glob(f"*/**/test_{name}.py")),
    ]
    stem = path.stem.split("_")[-1] if path.suffix == ".sql" else path.stem
    modules.sort(key=lambda module: stem not in module.stem)
    if path.suffix == ".sql":  # Compares status and code of each refusal with the registry.
        modules.append(root / "tests/models/core/test_errors.py")
    return list(dict.fromkeys(str(module.relative_to(root)) for module in modules))
