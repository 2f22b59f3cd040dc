"""Compare two OpenAPI documents: the changes between them, and which of these break clients.

`rules` lists the kinds of changes, `operations` compares paths, parameters and answers, and `schemas` compares types.
Pure functions of documents that `web.openapi.document` makes: they use a part of JSON Schema, and have no `allOf` or
`not`.
"""
