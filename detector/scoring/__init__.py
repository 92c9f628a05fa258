"""Score pictures without torch: checkpoints and model cards, runtimes, the engine, tables of scores."""
