"""Create the first System Admin: `python -m scripts.devstack.admin SECRETS_FILE`, in the system's environment."""

import sys
from pathlib import Path

from models.identity.system_admin import ensure_system_admin
from scripts.devstack import secrets


def main(path: str) -> None:
    """Create the account of the secrets file unless it exists."""
    known = secrets.load_or_make(Path(path))
    ensure_system_admin(known.admin_email, known.admin_password, known.admin_totp_secret)


if __name__ == "__main__":
    main(sys.argv[1])
