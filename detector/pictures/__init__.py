"""Everything about single pictures: file formats, decoding, faces, measurements, and labels in the file."""
