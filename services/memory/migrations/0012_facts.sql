-- Up to where a thread's messages were read for facts; NULL = none were yet. Rewrites no row.
ALTER TABLE threads ADD COLUMN facts_position bigint;
