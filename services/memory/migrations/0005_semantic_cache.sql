-- Answers by scope and question. cache_entries stays for the program before this one, which goes on writing there.

CREATE TABLE cache_answers (
    org_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    -- What a replica's matrix calls it.
    row_id bigint GENERATED ALWAYS AS IDENTITY,
    -- Empty = for every user of the organisation.
    user_id text NOT NULL DEFAULT '',
    scope_key bytea NOT NULL CHECK (octet_length(scope_key) = 32),
    -- A keyed digest of the normalised question.
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- The question and the serialised CachedAnswer, packed; empty when `sealed` holds them.
    content bytea NOT NULL,
    sealed bytea,
    -- Little-endian float32; NULL = only equal questions match.
    vector bytea,
    embedder_id text NOT NULL DEFAULT '',
    model text NOT NULL DEFAULT '',
    tags text[] NOT NULL DEFAULT '{}',
    -- In order of commit inside an organisation: taken from cache_totals, whose row is locked until then.
    seq bigint NOT NULL,
    -- What a similarity must be above, since a lower one failed.
    min_similarity double precision NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    failed_requests text[] NOT NULL DEFAULT '{}',
    hits bigint NOT NULL DEFAULT 0,
    stored_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz NOT NULL,
    size_bytes bigint NOT NULL GENERATED ALWAYS AS
        (octet_length(content) + coalesce(octet_length(sealed), 0) + coalesce(octet_length(vector), 0)) STORED,
    PRIMARY KEY (org_id, entry_id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX cache_answers_question ON cache_answers (org_id, user_id, scope_key, digest);
CREATE UNIQUE INDEX cache_answers_row ON cache_answers (org_id, row_id);
CREATE INDEX cache_answers_changes ON cache_answers (org_id, user_id, scope_key, seq) WHERE vector IS NOT NULL;
CREATE INDEX cache_answers_used ON cache_answers (org_id, used_at);
CREATE INDEX cache_answers_expiry ON cache_answers (expires_at);
ALTER TABLE cache_answers ENABLE ROW LEVEL SECURITY; ALTER TABLE cache_answers FORCE ROW LEVEL SECURITY;
CREATE POLICY cache_answers_org ON cache_answers USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY cache_answers_owner ON cache_answers TO dac_owner USING (true) WITH CHECK (true);

-- What an organisation has stored, and the number its last change got.
CREATE TABLE cache_totals (
    org_id uuid PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,
    entries bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0
);
ALTER TABLE cache_totals ENABLE ROW LEVEL SECURITY; ALTER TABLE cache_totals FORCE ROW LEVEL SECURITY;
CREATE POLICY cache_totals_org ON cache_totals USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY cache_totals_owner ON cache_totals TO dac_owner USING (true) WITH CHECK (true);

-- What the cache did, by day: hits, misses, what they saved, what guards held back.
CREATE TABLE cache_counts (
    org_id uuid NOT NULL,
    day date NOT NULL,
    name text NOT NULL,
    total bigint NOT NULL,
    PRIMARY KEY (org_id, day, name)
);
ALTER TABLE cache_counts ENABLE ROW LEVEL SECURITY; ALTER TABLE cache_counts FORCE ROW LEVEL SECURITY;
CREATE POLICY cache_counts_org ON cache_counts USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY cache_counts_owner ON cache_counts TO dac_owner USING (true) WITH CHECK (true);

-- The totals follow the rows whoever writes or deletes them.
CREATE FUNCTION count_cache_answers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE cache_totals t SET entries = t.entries + n.entries, bytes = t.bytes + n.bytes
            FROM (SELECT org_id, count(*) AS entries, sum(size_bytes) AS bytes FROM new_rows GROUP BY org_id) AS n
            WHERE t.org_id = n.org_id;
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE cache_totals t SET entries = t.entries - o.entries, bytes = t.bytes - o.bytes
            FROM (SELECT org_id, count(*) AS entries, sum(size_bytes) AS bytes FROM old_rows GROUP BY org_id) AS o
            WHERE t.org_id = o.org_id;
    ELSE
        UPDATE cache_totals t SET bytes = t.bytes + d.bytes
            FROM (SELECT n.org_id, sum(n.size_bytes - o.size_bytes) AS bytes FROM new_rows n
                JOIN old_rows o USING (org_id, row_id) GROUP BY n.org_id) AS d
            WHERE t.org_id = d.org_id AND d.bytes <> 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_inserted AFTER INSERT ON cache_answers REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_cache_answers();
CREATE TRIGGER count_deleted AFTER DELETE ON cache_answers REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_cache_answers();
CREATE TRIGGER count_updated AFTER UPDATE ON cache_answers REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_cache_answers();

-- An equal question's answer, and whether the scope has vectors that the caller has not seen: one round trip.
CREATE TYPE cache_found AS (
    entry_id uuid, row_id bigint, content bytea, sealed bytea, stored_at timestamptz, changed boolean
);
CREATE FUNCTION cache_find(
    org uuid, for_user text, in_scope bytea, of_digest bytea, at timestamptz, of_models text[], since timestamptz,
    known_seq bigint, embedder text
) RETURNS cache_found LANGUAGE plpgsql AS $$
DECLARE
    answer cache_found;
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    SELECT a.entry_id, a.row_id, a.content, a.sealed, a.stored_at, false INTO answer FROM cache_answers a
        WHERE a.org_id = org AND a.user_id = for_user AND a.scope_key = in_scope AND a.digest = of_digest
        AND a.expires_at > at AND a.stored_at >= since AND (of_models = '{}' OR a.model = ANY (of_models));
    IF NOT FOUND AND embedder <> '' THEN
        answer.changed := EXISTS (SELECT FROM cache_answers a WHERE a.org_id = org AND a.user_id = for_user
            AND a.scope_key = in_scope AND a.seq > known_seq AND a.vector IS NOT NULL AND a.embedder_id = embedder);
    END IF;
    RETURN answer;
END $$;

-- Stores an answer in the place of an older one to the same question, and makes room.
CREATE FUNCTION cache_put(
    org uuid, new_id uuid, for_user text, in_scope bytea, of_digest bytea, new_content bytea, new_sealed bytea,
    new_vector bytea, embedder text, of_model text, new_tags text[], at timestamptz, until timestamptz,
    max_entries bigint, max_bytes bigint
) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    next_seq bigint;
    stored uuid;
    total cache_totals;
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    INSERT INTO cache_totals AS t (org_id, seq) VALUES (org, 1)
        ON CONFLICT (org_id) DO UPDATE SET seq = t.seq + 1 RETURNING t.seq INTO next_seq;
    INSERT INTO cache_answers AS a (org_id, entry_id, user_id, scope_key, digest, content, sealed, vector, embedder_id,
            model, tags, seq, stored_at, expires_at, used_at)
        VALUES (org, new_id, for_user, in_scope, of_digest, new_content, new_sealed, new_vector, embedder,
            of_model, new_tags, next_seq, at, until, at)
        ON CONFLICT (org_id, user_id, scope_key, digest) DO UPDATE SET entry_id = EXCLUDED.entry_id,
            content = EXCLUDED.content, sealed = EXCLUDED.sealed, vector = EXCLUDED.vector,
            embedder_id = EXCLUDED.embedder_id, model = EXCLUDED.model, tags = EXCLUDED.tags, seq = EXCLUDED.seq,
            min_similarity = 0, failures = 0, failed_requests = '{}', hits = 0, stored_at = EXCLUDED.stored_at,
            expires_at = EXCLUDED.expires_at, used_at = EXCLUDED.used_at
        RETURNING a.entry_id INTO stored;
    LOOP
        SELECT * INTO total FROM cache_totals t WHERE t.org_id = org;
        EXIT WHEN total.entries <= 1 OR (total.entries <= max_entries AND total.bytes <= max_bytes);
        DELETE FROM cache_answers a WHERE a.org_id = org AND a.entry_id IN (
            SELECT b.entry_id FROM cache_answers b WHERE b.org_id = org AND b.entry_id <> stored
            ORDER BY b.used_at, b.row_id LIMIT greatest(1, total.entries - max_entries, total.entries / 100));
    END LOOP;
    RETURN stored;
END $$;

CREATE FUNCTION organisations_with_expired_cache(before timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    SELECT DISTINCT org_id FROM cache_answers WHERE expires_at <= before
    UNION SELECT DISTINCT org_id FROM cache_counts WHERE day < (before - interval '400 days')::date
$$;
REVOKE ALL ON FUNCTION organisations_with_expired_cache(timestamptz) FROM PUBLIC;
