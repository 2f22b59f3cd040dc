"""Storage of files: `base` is the protocol, `folder` and `bucket` are its drivers, `by_url` chooses one.

Keys have the form `area/name`. Areas: `uploads` (unchecked files, never served), `media` (public) and `private`.
"""
