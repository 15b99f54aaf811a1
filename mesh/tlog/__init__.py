"""A transparency log's arithmetic: Merkle tree, signed notes, tiles, proofs. Pure: the service and the CLI share it."""
