"""Recognisable secrets and personal data: a place where one appears has leaked it."""

import json

PASSWORD = "canary-Horse-battery-7431"
NEW_PASSWORD = "canary-Staple-correct-9127"
REFRESH_TOKEN = "c4n4ryRefreshTokenQ8zLw2Vb6NfR1tY5u"
LINK_TOKEN = "AZ9canaryLinkTokenJ7xPq3_mK-5wT8vB2cD4eF6gH0iL1"
JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImNhbmFyeSJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ"
CODE = "738291"
PHONE = "+34699887766"
EMAIL = "canary.fan7431@example.com"
LAT, LON = 41.387412, 2.168634

CANARIES = [
    *(PASSWORD, NEW_PASSWORD, REFRESH_TOKEN, LINK_TOKEN, JWT, JWT.split(".")[1], CODE, PHONE, PHONE[1:], EMAIL),
    *(EMAIL.partition("@")[0], str(LAT), str(LON)),
]

PERSON = {
    "email": EMAIL,
    "password": PASSWORD,
    "new_password": NEW_PASSWORD,
    "refresh_token": REFRESH_TOKEN,
    "totp_code": CODE,
    "phone": PHONE,
    "location": {"lat": LAT, "lon": LON},
}

WORDS = [
    f"could not send to {EMAIL} or {PHONE}",
    f"{EMAIL.upper().lower()} has token={LINK_TOKEN}, and refreshToken: {REFRESH_TOKEN!r}",
    f"rejected {PERSON}",
    f"rejected {json.dumps(PERSON)}",
    f"rejected {json.dumps(json.dumps(PERSON))}",
    f"https://x/verify-email?token={LINK_TOKEN}&email={EMAIL}&otp={CODE}",
    f"Authorization: Bearer {JWT}",
    f"a token that no field names: {REFRESH_TOKEN} {LINK_TOKEN} {JWT}",
    f"at {LAT}, {LON}",
    f"at POINT({LON} {LAT}), lat={LAT} lon={LON}",
    f"postgresql://app:{PASSWORD}@db.internal/companon?password={PASSWORD}",
    f"Key (email)=({EMAIL}) already exists.",
    f"Failing row contains (1, {EMAIL}, {PASSWORD}, {PHONE}, {LAT}).",
]
"""Parts of error messages of libraries that quote them."""


def found_in(text: str) -> list[str]:
    """Return the canaries in a text, in any escaped form."""
    return [canary for canary in CANARIES if canary in text]
