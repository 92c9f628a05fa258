"""Migrations of the service's database with Alembic; `database.open_database` runs them."""
