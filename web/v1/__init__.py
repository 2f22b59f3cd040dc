"""The API, version 1. Every module of this package declares its endpoints in `ROUTES`; `collect` finds them."""

from web.http.routes import Routes, collect

ROUTES: Routes = collect(__name__, __path__)
