"""Privacy: the register of personal data.

Tables: none yet; the register covers the tables of all domains.
Public modules: `register` collects the declarations of all domains and checks them against the catalogue.
May import: `insights` and the domains below it.
"""
