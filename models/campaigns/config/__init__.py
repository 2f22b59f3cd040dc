"""Configuration of a campaign: its types, the rules between its members, and its stored form.

`types` has the structs of the three campaign types and their common members; `geofence`, `scan_rules`, `survey` and
`plans` have the structs of single members. `rules` finds contradictions. `stored` converts to and from the form in
`campaigns.config`, and upgrades older forms.
"""

from models.campaigns.config.dates import EARLIEST, LATEST, OUT_OF_RANGE
from models.campaigns.config.geofence import Geofence, Polygon, WhenUncertain
from models.campaigns.config.plans import Admission, Budget, Currency, EventPlan, Goal, GoalMetric, Reward, Venue
from models.campaigns.config.rules import contradictions, missing_at_launch, missing_of_notice
from models.campaigns.config.scan_rules import LimitWindow, ScanLimit, ScanWindow, Share, Weekday
from models.campaigns.config.stored import SCHEMA_VERSION, canonical, load, members_for
from models.campaigns.config.survey import ChoiceQuestion, Question, RatingQuestion, Survey, TextQuestion
from models.campaigns.config.types import CONFIGS, Config, EventConfig, LockerConfig, QrConfig

__all__ = [
    "CONFIGS",
    "EARLIEST",
    "LATEST",
    "OUT_OF_RANGE",
    "SCHEMA_VERSION",
    "Admission",
    "Budget",
    "ChoiceQuestion",
    "Config",
    "Currency",
    "EventConfig",
    "EventPlan",
    "Geofence",
    "Goal",
    "GoalMetric",
    "LimitWindow",
    "LockerConfig",
    "Polygon",
    "QrConfig",
    "Question",
    "RatingQuestion",
    "Reward",
    "ScanLimit",
    "ScanWindow",
    "Share",
    "Survey",
    "TextQuestion",
    "Venue",
    "Weekday",
    "WhenUncertain",
    "canonical",
    "contradictions",
    "load",
    "members_for",
    "missing_at_launch",
    "missing_of_notice",
]
