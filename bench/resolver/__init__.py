"""How well the router's entity resolution joins names of models: precision and recall against pairs that are known."""
