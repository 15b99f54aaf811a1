-- What the hashes of API keys are made with stays when the master key changes: sealed by the master key named beside
-- it. Empty = derived from that master key.
ALTER TABLE key_check ADD COLUMN sealed_peppers bytea NOT NULL DEFAULT '';
