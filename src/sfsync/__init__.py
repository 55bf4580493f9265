"""Keep a Postgres store of people and companies equal to Salesforce.

Why: the version is written here and nowhere else; the build reads it from this file.
"""

__version__ = "0.1.0"
