"""Privacy: the register of personal data.

Tables: none. Each domain declares the personal data of its own tables in its module `personal_data`.
Public modules: `register` collects the declarations of all domains and checks them against the catalogue.
May import: `insights` and the domains below it.
"""
