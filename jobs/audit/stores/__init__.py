"""Places outside the database that keep checkpoints: a folder, an HTTP server or an S3 bucket.

`base` defines the protocol, `by_url` opens the store that a URL names.
"""
