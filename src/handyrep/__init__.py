"""HandyRep: PostgreSQL high availability with nothing to install on the database servers."""

__version__ = "0.1.0"
