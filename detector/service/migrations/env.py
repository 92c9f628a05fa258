"""What Alembic runs: the migrations, on the connection and in the transaction of `database.open_database`."""

from alembic import context

from detector.service.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
