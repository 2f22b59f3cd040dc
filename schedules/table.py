"""The recurring jobs. A schedule has the name of its actor."""

from schedules.kinds import Daily, Every, Schedule

SCHEDULES: list[Schedule] = [
    Every(minutes=1, do="campaigns.sweep", catch_up="last", late_means="campaigns begin and end too late"),
    Every(minutes=1, do="audit.sweep", catch_up="last", late_means="unsealed entries are not reported"),
    Every(hours=1, do="accounts.expire", catch_up="last", late_means="used and expired links and sessions accumulate"),
    Every(
        minutes=5, do="locker.expire", catch_up="last", late_means="the stock shows expired reservations as reserved"
    ),
    Every(minutes=5, do="requests.expire", catch_up="last", late_means="encrypted secrets of responses stay stored"),
    Every(hours=1, do="assets.clean", catch_up="last", late_means="files without an asset take disk space"),
    Every(hours=1, do="scans.merge_refusals", catch_up="last", late_means="counts of refused scans take disk space"),
    Every(minutes=5, do="transfers.expire", catch_up="last", late_means="failed imports and exports seem to run"),
    Every(minutes=1, do="webhooks.sweep", catch_up="last", late_means="events of dead webhook endpoints accumulate"),
    Daily(at="04:20", do="mediaid.refresh_old", catch_up="last", late_means="segments use old traits of fans"),
    Daily(at="03:15", do="consents.expire_uses", catch_up="last", late_means="old records of uses take disk space"),
    Daily(at="03:10", do="consents.expire", catch_up="all", late_means="fans are asked for their consent too late"),
    Daily(at="03:50", do="limit_counters.expire", catch_up="last", late_means="past counters take disk space"),
    Daily(at="03:30", do="engagements.rotate", catch_up="last", late_means="old engagement events take disk space"),
    Daily(at="03:25", do="notifications.expire", catch_up="last", late_means="old notifications take disk space"),
    Daily(at="03:20", do="campaigns.prune_versions", catch_up="last", late_means="histories of campaigns grow"),
    Daily(at="03:35", do="passport.expire", catch_up="last", late_means="records of calls take disk space"),
    Daily(at="03:35", do="coliseum.expire", catch_up="last", late_means="old analytics events take disk space"),
    Every(minutes=15, do="cals.sync", catch_up="last", late_means="changes of contacts are not synchronised"),
    Every(minutes=15, do="segments.tick", catch_up="last", late_means="windows of segments do not move on"),
    Daily(at="04:05", do="segments.expire", catch_up="last", late_means="old memberships take disk space"),
    Every(minutes=5, do="segments.sweep", catch_up="last", late_means="changes of failed jobs do not reach segments"),
    Every(minutes=5, do="engagements.sweep", catch_up="last", late_means="events of failed jobs are not delivered"),
    Daily(at="03:40", do="jobs.prune", catch_up="last", late_means="the history of finished jobs grows"),
    Daily(at="04:40", do="events.expire", catch_up="last", late_means="guest lists of past events stay stored"),
    Daily(at="04:45", do="venues.expire", catch_up="last", late_means="old positions of addresses are used again"),
]
