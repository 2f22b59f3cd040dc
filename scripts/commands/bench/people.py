"""Create the people of `bench logins` and print one's token: `python -m scripts.commands.bench.people COUNT`."""

import sys
from contextlib import closing

import psycopg2

from models.core.database import new_id
from models.identity import passwords, sessions
from settings import settings

PASSWORD = "correct horse battery"
INSERT = """
    insert into public.users (id, email, password_hash, role_id, email_verified_at)
    select %s, %s, %s, id, now() from public.roles where name = 'Fan'
"""


def main(count: int) -> None:
    """Create `count` fans with one password, and sign in the first one."""
    hashed = passwords.hash(PASSWORD)
    with closing(psycopg2.connect(settings.database_direct_url)) as db, db, db.cursor() as cursor:
        cursor.executemany(INSERT, [(new_id(), f"person{n}@bench.example", hashed) for n in range(count)])
    print(sessions.sign_in("person0@bench.example", PASSWORD, network="bench").access_token)


if __name__ == "__main__":
    main(int(sys.argv[1]))
