"""What the service's database holds, one file a subject. `metadata` knows all tables, for migrations and tests."""

from plutao.serve.tables import accounts, answers, audit, chats, jobs, judgements, keys, metering
from plutao.serve.tables.base import Base

metadata = Base.metadata

__all__ = ["Base", "accounts", "answers", "audit", "chats", "jobs", "judgements", "keys", "metadata", "metering"]
