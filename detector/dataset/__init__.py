"""Many pictures: the manifest, where it comes from, copies saved alike, and what gives its labels away."""
