"""What the edge says of itself and how annotated RPCs become paths: transcoding, OpenAPI, its pages."""
