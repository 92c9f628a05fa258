"""One file for each version of the tables: how to get there from the version before."""
