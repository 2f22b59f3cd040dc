"""HTML pages: the API documentation, the page of a code, and the pages that mails link to.

`pages` adds the routes and serves the files of `web/static`; `mail_pages` holds the texts of the pages that mails link
to. A page loads only files of this server and calls the public API.
"""
