"""Core: the database connection and the primitives that every domain uses.

Table: `app.idempotency_keys`. Public modules: `database` (transactions and queries), `context` (the identity of a
transaction), `errors` (registry of error codes), `locks`, `logs`, `keys` and `aead` (key derivation, encryption),
`base64url`, `signed_links`, `cpu_pool`, `http_fetch` (outgoing HTTP), `tls`, `s3`, `emails`, `texts`, `timezones`,
`personal_data` (types of the register), `migrate` and `sql_statements`.
May import: no other domain.
"""
