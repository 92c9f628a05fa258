"""Data sets: manifests and how they are read, re-encoded copies, and the audit of what tells their labels."""
