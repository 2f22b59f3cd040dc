"""The endpoint framework: every step between a route and its responder.

`endpoint` is the entry: it reads `endpoint_spec` and runs authentication, grants, rate limits, decoding, idempotency,
the transaction, auditing and encoding, each in its own module. `problems` renders every error, `middleware` sets ids
and headers of every request, `thread_pool` runs synchronous responders, `dependencies` holds all replaceable parts.
`fields`, `datetimes` and `accepted` are types and answers that resources share.
Imports public modules of `models`; never a resource of `web.v1`.
"""
