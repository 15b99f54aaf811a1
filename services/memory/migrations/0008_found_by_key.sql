-- Rows looked up by key are found through the index of that key, whatever PostgreSQL knows of the table. Every index
-- here begins with org_id, and before a table is analysed they all look equally good: then a question of one scope read
-- the whole organisation. What must come in the order of an index, and may not be sorted, leaves the planner no other.
CREATE OR REPLACE FUNCTION cache_find(
    org uuid, for_user text, in_scope bytea, of_digest bytea, at timestamptz, of_models text[], since timestamptz,
    known_seq bigint, embedder text
) RETURNS cache_found LANGUAGE plpgsql
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    answer cache_found;
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    SELECT a.entry_id, a.row_id, a.content, a.sealed, a.stored_at, false INTO answer FROM cache_answers a
        WHERE a.org_id = org AND a.user_id = for_user AND a.scope_key = in_scope
        AND a.digest >= of_digest AND a.digest <= of_digest
        AND a.expires_at > at AND a.stored_at >= since AND (of_models = '{}' OR a.model = ANY (of_models))
        ORDER BY a.digest LIMIT 1;
    IF NOT FOUND AND embedder <> '' THEN
        PERFORM FROM cache_answers a WHERE a.org_id = org AND a.user_id = for_user AND a.scope_key = in_scope
            AND a.seq > known_seq AND a.vector IS NOT NULL AND a.embedder_id = embedder ORDER BY a.seq LIMIT 1;
        answer.changed := FOUND;
    END IF;
    RETURN answer;
END $$;

-- What is still there of some rows of a scope, in one round trip.
CREATE TYPE cache_candidate AS (
    entry_id uuid, row_id bigint, content bytea, sealed bytea, stored_at timestamptz, min_similarity double precision
);
CREATE FUNCTION cache_candidates(
    org uuid, for_user text, in_scope bytea, of_rows bigint[], at timestamptz, since timestamptz, of_models text[],
    embedder text
) RETURNS cache_candidate[] LANGUAGE plpgsql
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    RETURN ARRAY(SELECT ROW(a.entry_id, a.row_id, a.content, a.sealed, a.stored_at, a.min_similarity)::cache_candidate
        FROM unnest(of_rows) AS wanted (row_id) CROSS JOIN LATERAL (
            SELECT * FROM cache_answers c WHERE c.org_id = org AND c.row_id >= wanted.row_id
            AND c.row_id <= wanted.row_id AND c.user_id = for_user AND c.scope_key = in_scope AND c.expires_at > at
            AND c.stored_at >= since AND (of_models = '{}' OR c.model = ANY (of_models)) AND c.vector IS NOT NULL
            AND c.embedder_id = embedder ORDER BY c.row_id LIMIT 1) AS a);
END $$;

-- How far an organisation's memories have changed, and which mirrors are too old: in one round trip.
CREATE TYPE memories_state AS (seq bigint, swept_seq bigint);
CREATE FUNCTION state_of_memories(org uuid) RETURNS memories_state LANGUAGE plpgsql AS $$
DECLARE
    found_state memories_state;
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    SELECT m.seq, m.swept_seq INTO found_state FROM memory_changes m WHERE m.org_id = org;
    RETURN found_state;
END $$;
