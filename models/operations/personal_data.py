"""Declare the personal data of the tables for operators: none of them holds any."""

from models.core.personal_data import FIXED_LIST, NAME_IN_CODE, NotPersonal, Table

PERSONAL = (
    Table(
        name="app.heartbeats",
        not_personal=(
            NotPersonal(("kind",), FIXED_LIST),
            NotPersonal(("process",), "a host and a process number"),
            NotPersonal(("queue",), NAME_IN_CODE),
        ),
    ),
    Table(
        name="app.job_counts",
        not_personal=(NotPersonal(("kind",), FIXED_LIST), NotPersonal(("counts",), "numbers of jobs")),
    ),
    Table(name="app.schedule_occurrences", not_personal=(NotPersonal(("schedule",), NAME_IN_CODE),)),
)
