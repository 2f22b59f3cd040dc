"""What happens by itself, and when. The job's name is the schedule's name."""

from schedules.kinds import Daily, Every, Schedule

SCHEDULES: list[Schedule] = [
    Every(minutes=1, do="audit.sweep", catch_up="last", late_means="unsealed entries are not reported"),
    Every(hours=1, do="accounts.expire", catch_up="last", late_means="used and outdated links and sessions pile up"),
    Every(hours=1, do="requests.expire", catch_up="last", late_means="answers kept for Idempotency-Key pile up"),
    Every(hours=1, do="scans.merge_refusals", catch_up="last", late_means="counts of refused scans take more room"),
    Daily(at="03:10", do="consents.expire", catch_up="all", late_means="people are asked again too late"),
    Daily(at="03:50", do="limit_counters.expire", catch_up="last", late_means="counters of past windows take room"),
    Daily(at="03:40", do="jobs.prune", catch_up="last", late_means="the history of finished jobs grows"),
]
