"""The web portal: a page in the browser that stands on the public API alone."""
