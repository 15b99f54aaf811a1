-- Models that were made through the API. The router writes them; every service that goes by models reads them, as it
-- reads those of files, and before it starts: budget would else take their prices back.
CREATE TABLE models (
    model text PRIMARY KEY,
    version bigint NOT NULL CHECK (version > 0),
    -- What was written, as JSON: what stands under models: in a file.
    document text NOT NULL,
    -- The caller's, so that the same creation again makes nothing new; empty = none.
    request_id text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX models_request ON models (request_id) WHERE request_id <> '';

-- Counts their changes, in its only row: who finds it as it was need not read them again, and who writes holds it.
CREATE TABLE model_changes (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    changes bigint NOT NULL
);
INSERT INTO model_changes (changes) VALUES (0);
