"""Documents generated from the endpoint specs.

`document` builds the OpenAPI 3.1 document with spectree, `schemas` and `examples` complete it, and
`permission_matrix` writes docs/permissions.md. Imports `web.http`; never a resource of `web.v1`.
"""
