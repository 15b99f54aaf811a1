"""How long the router takes to decide: everything between a RouteRequest and its answer."""
