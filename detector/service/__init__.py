"""The service: an HTTP interface and a page around the examination of pictures. Needs the extra `serve`."""
