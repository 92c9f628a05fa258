"""From pictures to scores without torch: weights and their card, the runtime, the engine, the table."""
