"""Where PRIMARY keeps the reference: one transactional store, SQLite or PostgreSQL."""
