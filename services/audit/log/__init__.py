"""The provable log: takes up what audit stores as leaves of one Merkle tree, signs checkpoints, hands out proofs."""
