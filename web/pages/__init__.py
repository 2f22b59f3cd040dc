"""HTML pages: the API reference, the catalogue of errors, the page of a code, and the pages that mails link to.

`pages` adds the routes. `assets` serves the files that pages load under the hash of their content. `languages` chooses
the language of a page, `mail_pages` holds the texts of the pages that mails link to, and `html_errors` shows errors to
people. A page loads only files of this server and calls the public API.
"""
