"""One picture: its bytes, its pixels, the face in it, what is measured of it and the marks it may carry."""
