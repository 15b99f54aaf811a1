"""The response cache: what may be stored, what may be shared, and what tells two questions apart."""
