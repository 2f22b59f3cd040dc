"""Name, version and introduction of the document: the part that readers see first."""

from typing import Any

from settings import VERSION as VERSION

TITLE = "Companon API"
"""In ASCII: client generators make package and module names of it."""

LICENSE: dict[str, Any] = {"name": "Proprietary", "identifier": "LicenseRef-Proprietary"}


def contact(server: str) -> dict[str, Any]:
    """Return who answers questions about the API at this server."""
    return {"name": "Compañon", "url": f"{server.rstrip('/')}/docs"}


INTRODUCTION = """\
The API of **Compañon**: brands run campaigns, fans scan their codes, and dashboards show the results.

## Quick start

`$API` is the address of this server. Requests and answers are JSON in UTF-8.

**1. Sign up.** The person gets a mail with a link; its `token` makes the account.

```sh
curl $API/api/v1/auth/signup --json \\
  '{"email": "ana@brand.example", "locale": "es"}'
curl $API/api/v1/auth/verify --json \\
  '{"token": "…", "password": "chocolate con churros", "name": "Ana"}'
```

**2. Sign in.** Send `access_token` as `Authorization: Bearer …` with every request. It is valid for some minutes:
`POST /api/v1/auth/refresh` exchanges the `refresh_token` for a new session.

```sh
curl $API/api/v1/auth/login --json \\
  '{"email": "ana@brand.example", "password": "chocolate con churros"}'
```

A fan needs no account: `POST /api/v1/auth/anonymous` starts a session without one. People become members of a brand by
an invitation (`POST /api/v1/brands/{brand_id}/invitations`); a System Admin creates the brand and invites its first
Brand Admin (`POST /api/v1/brands`). Programs use an API key in place of the access token (`POST /api/v1/api-keys`).

**3. Create a campaign and launch it**, as a member of the brand. The launch is a job: poll its `Location` until `state`
is `done`.

```sh
curl $API/api/v1/campaigns -H "Authorization: Bearer $MEMBER" --json \\
  '{"name": "Plaza Mayor", "type": "QR", "config": {"timezone": "Europe/Madrid"}}'
curl -X POST $API/api/v1/campaigns/$CAMPAIGN/launch -H "Authorization: Bearer $MEMBER"
curl $API/api/v1/campaigns/$CAMPAIGN/codes -H "Authorization: Bearer $MEMBER"
```

**4. Scan a code**, as a fan. `GET /api/v1/qr/codes/{token}` lists what a scan needs: consents, a position, an account.
Record missing consents with `POST /api/v1/consents`, then send the scan.

```sh
curl $API/api/v1/qr/scan -H "Authorization: Bearer $FAN" --json \\
  '{"code": "…", "client_scan_id": "0199f3a8-6c1e-7d5b-9d0a-3f1b2c4d5e6f",
    "scanned_at": "2026-11-22T18:30:00Z", "device": {"fingerprint": "3f1b2c4d5e6f7a8b"}}'
```

**5. Read the results.**

```sh
curl $API/api/v1/analytics/overview -H "Authorization: Bearer $MEMBER"
```

## Errors

Every error is a problem document (RFC 9457, `application/problem+json`). Programs compare `code`, which is stable;
`title` and `detail` are for people, in English or Spanish as `Accept-Language` asks. Some codes have further members,
e.g. `errors` with each invalid field, or `missing` with the consents that a scan lacks. Each has a schema of its own.
`type` is the URL of the description of the code, and [/docs/errors](/docs/errors) describes all of them.

| status | meaning | what to do |
| --- | --- | --- |
| 401 | no session, or it has ended | refresh once; if that fails, sign in again |
| 403 | not permitted | read `code`: a permission, a second factor, a consent is missing |
| 404 | not found, or not visible to the caller | |
| 409, 412 | the state does not allow it, or has changed | read the record again |
| 422 | a value is not valid | show `errors` beside the fields |
| 429, 503 | too many requests, or busy | wait for `Retry-After` seconds |

`X-Request-Id` of the answer, also `request_id` in a problem, names the request to support.

## Lists

Lists have pages: `items` and `next_cursor`. Send `next_cursor` as `cursor` to get the next page; it is null on the last
one. A cursor belongs to its list and filters. `limit` is the number of items per page.

## Retries

A repeated `POST` with the same `Idempotency-Key` has its effect once and gets the first answer again, with
`Idempotent-Replayed: true`. Use a new UUID for each act. Answers are kept for a day, one with a secret for five
minutes. Each `POST` whose retry would create or send something again takes the header. A scan is identified by its
`client_scan_id` instead.

## Concurrent changes

An answer with an `ETag` has a version. Send it as `If-Match` with a change: if somebody else has changed the record
meanwhile, the answer is 412 and nothing is overwritten. With `If-None-Match`, `GET` answers 304 without a body while
the version is the same.

## Rate limits

`RateLimit` and `RateLimit-Policy` show the limit, the remaining requests (`r`) and the seconds until the reset (`t`).
A refused request gets 429 with `Retry-After`.

## Background work

`202` is the answer to a request whose work continues in a job. Poll the `Location` of the job. There are no webhooks
yet.

## Versions

The version of the API is in `info.version`. New operations, optional members of requests, members of answers and values
of enumerations may come at any time: ignore members that you do not know, and have a default for unknown values. An
operation that will go is `deprecated`, and its answers have `Deprecation` and `Sunset`.
"""
