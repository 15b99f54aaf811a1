"""The HTTP edge: one application, one exchange for each request, failures as callers see them."""
