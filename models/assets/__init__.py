"""Assets: files of a brand (images, videos, imports, exports) and the storage that holds them.

Table: `public.assets`. A client uploads a file to a signed URL; a job checks it and stores the checked file under
another key. Only checked files have a URL. `storage` holds the two drivers: a local directory and an S3 bucket.

Public modules: `assets` (reserve, complete, read, delete), `types` (allowed types and sizes), `content` (the check of a
file, for jobs only) with `containers` (of videos), `storage`, `personal_data`.
May import: `identity`, `jobs` and `core`.
"""
