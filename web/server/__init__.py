"""The gunicorn worker, its configuration and its shutdown state.

`worker` limits slow clients and connections and refuses malformed requests with problem documents
(docs/decisions/0019, 0036). `gunicorn.conf.py` is the configuration; `shutdown` holds the
shutdown state for event streams.
"""
