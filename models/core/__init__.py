"""Own the database connection and everything that every domain stands on.

Tables: `idempotency_keys` and the schema's bookkeeping. Public modules: `database` (transactions, queries), `context`
(the identity that a transaction acts as), `errors`, `locks`, `logs`, `keys` and `aead` (key derivation, encryption),
`signed_links`, `cpu_pool`,
`http_fetch` (outgoing HTTP), `emails`, `texts`, `timezones`, `migrate`, `sql_statements`.
Imports no other domain.
"""
