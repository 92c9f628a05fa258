"""A questioned picture: what each check saw, one sealed record, its renderings, the log, and what came of it."""
