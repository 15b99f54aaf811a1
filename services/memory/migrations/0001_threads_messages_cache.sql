-- Threads, their messages, and the exact response cache.

CREATE TABLE threads (
    org_id uuid NOT NULL,
    thread_id text NOT NULL CHECK (char_length(thread_id) BETWEEN 1 AND 128),
    title text NOT NULL DEFAULT '',
    message_count bigint NOT NULL DEFAULT 0,
    -- The number that the next message gets; it never goes back.
    next_position bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, thread_id)
) WITH (fillfactor = 80);
CREATE INDEX threads_newest ON threads (org_id, created_at DESC, thread_id DESC);
ALTER TABLE threads ENABLE ROW LEVEL SECURITY; ALTER TABLE threads FORCE ROW LEVEL SECURITY;
CREATE POLICY threads_org ON threads USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

CREATE TABLE messages (
    org_id uuid NOT NULL,
    thread_id text NOT NULL,
    position bigint NOT NULL,
    message_id uuid NOT NULL,
    role text NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    text text NOT NULL,
    openai_json text NOT NULL DEFAULT '',
    tokens_estimated bigint NOT NULL CHECK (tokens_estimated >= 0),
    request_id text NOT NULL DEFAULT '',
    ordinal integer NOT NULL,
    model text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, thread_id, position),
    FOREIGN KEY (org_id, thread_id) REFERENCES threads (org_id, thread_id) ON DELETE CASCADE
);
-- A retry with the same request id finds its own rows.
CREATE UNIQUE INDEX messages_once ON messages (org_id, thread_id, request_id, role, ordinal) WHERE request_id <> '';
ALTER TABLE messages ENABLE ROW LEVEL SECURITY; ALTER TABLE messages FORCE ROW LEVEL SECURITY;
CREATE POLICY messages_org ON messages USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

CREATE TABLE cache_entries (
    org_id uuid NOT NULL,
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- The serialised CachedAnswer.
    answer bytea NOT NULL,
    stored_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, fingerprint)
);
CREATE INDEX cache_entries_expiry ON cache_entries (expires_at);
ALTER TABLE cache_entries ENABLE ROW LEVEL SECURITY; ALTER TABLE cache_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY cache_entries_org ON cache_entries USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY cache_entries_owner ON cache_entries TO dac_owner USING (true) WITH CHECK (true);

-- The sweeper belongs to no organisation: it learns which have something to sweep, and then acts inside each.
CREATE FUNCTION organisations_with_expired_answers(before timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    SELECT DISTINCT org_id FROM cache_entries WHERE expires_at <= before
$$;
REVOKE ALL ON FUNCTION organisations_with_expired_answers(timestamptz) FROM PUBLIC;
