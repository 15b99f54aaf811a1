"""A chat on its way: routed, reserved, generated, settled."""
