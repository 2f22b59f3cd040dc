"""What happens by itself, and when. The job's name is the schedule's name."""

from schedules.kinds import Daily, Every, Schedule

SCHEDULES: list[Schedule] = [
    Every(minutes=1, do="audit.sweep", catch_up="last", late_means="entries lie unsealed, and could be changed unseen"),
    Every(
        hours=1, do="audit.checkpoint", catch_up="last", late_means="entries cut off a chain's end would not be missed"
    ),
    Every(hours=1, do="accounts.expire", catch_up="last", late_means="used and outdated links and sessions pile up"),
    Every(hours=1, do="requests.expire", catch_up="last", late_means="answers kept for Idempotency-Key pile up"),
    Daily(at="03:10", do="consents.expire", catch_up="all", late_means="people are asked again too late"),
    Daily(at="04:10", do="audit.prune", catch_up="last", late_means="old audit entries are kept for longer"),
    Daily(at="03:40", do="jobs.prune", catch_up="last", late_means="the history of finished jobs grows"),
]
