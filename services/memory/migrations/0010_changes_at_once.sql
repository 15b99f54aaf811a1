-- What a process needs of an organisation's memories, in one round trip each: pages of columns rather than of rows, as
-- numbers in network order one behind the other, which become arrays as they are.
CREATE TYPE memories_page AS (
    -- How far the memories have changed, and which mirrors are too old.
    seq bigint, swept_seq bigint,
    seqs bytea, ids bytea, gone bytea, kinds bytea, users text[], agents text[], threads text[], text_ids bytea,
    -- Arrays with their headers, and how many numbers each has.
    terms bytea, term_counts bytea, metadata_terms bytea, metadata_counts bytea,
    -- Zeros where there is none.
    previous bytea, occurred bytea, valid_from bytea, valid_to bytea,
    -- Whether there is a vector of the embedder, and those that there are.
    embedded bytea, vectors bytea, windowed bytea, window_vectors bytea
);

-- The page behind `after`, in the order of `seq`. With `of_user` what there is of this user, the oldest first, when it is
-- fewer than `at_most`; a page as long as that may lack some.
CREATE FUNCTION changes_of_memories(
    org uuid, after bigint, at_most integer, embedder text, vector_bytes integer, of_user text
) RETURNS memories_page LANGUAGE plpgsql
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    found_seq bigint;
    page memories_page;
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    SELECT m.seq INTO found_seq FROM memory_changes m WHERE m.org_id = org;
    IF found_seq > after THEN
        SELECT found_seq, 0,
            string_agg(int8send(c.seq), ''), string_agg(uuid_send(c.memory_id), ''),
            string_agg(boolsend(c.deleted_at IS NOT NULL), ''), string_agg(int2send(c.kind), ''),
            array_agg(c.user_id), array_agg(c.agent_id), array_agg(c.thread_id), string_agg(int8send(c.text_id), ''),
            string_agg(array_send(c.terms), ''), string_agg(int4send(cardinality(c.terms)), ''),
            string_agg(array_send(c.metadata_terms), ''), string_agg(int4send(cardinality(c.metadata_terms)), ''),
            string_agg(uuid_send(coalesce(c.previous_id, '00000000-0000-0000-0000-000000000000')), ''),
            string_agg(timestamptz_send(c.occurred_at), ''),
            string_agg(timestamptz_send(coalesce(c.valid_from, '-infinity')), ''),
            string_agg(timestamptz_send(coalesce(c.valid_to, 'infinity')), ''),
            string_agg(boolsend(c.embedder_id = embedder AND coalesce(octet_length(c.vector) = vector_bytes, false)), ''),
            string_agg(CASE WHEN c.embedder_id = embedder AND octet_length(c.vector) = vector_bytes
                THEN c.vector END, ''),
            string_agg(boolsend(c.embedder_id = embedder
                AND coalesce(octet_length(c.window_vector) = vector_bytes, false)), ''),
            string_agg(CASE WHEN c.embedder_id = embedder AND octet_length(c.window_vector) = vector_bytes
                THEN c.window_vector END, '')
        INTO page
        FROM ((SELECT * FROM memories m WHERE of_user IS NULL AND m.org_id = org AND m.seq > after
                ORDER BY m.seq LIMIT at_most)
            UNION ALL (SELECT * FROM memories m WHERE of_user IS NOT NULL AND m.org_id = org AND m.user_id = of_user
                AND m.deleted_at IS NULL ORDER BY m.created_at, m.memory_id LIMIT at_most)) AS c;
    END IF;
    page.seq := found_seq;
    -- Last, so that a sweep between the two statements is not overlooked.
    SELECT m.swept_seq INTO page.swept_seq FROM memory_changes m WHERE m.org_id = org;
    RETURN page;
END $$;

-- Memories by id, as those who may see them read them.
CREATE TYPE memory_seen AS (
    memory_id uuid, kind smallint, user_id text, agent_id text, thread_id text, role text, speaker text, text text,
    metadata text, sealed bytea, occurred_at timestamptz, created_at timestamptz, updated_at timestamptz,
    valid_from timestamptz, valid_to timestamptz, superseded_by uuid, source_ids text[], confidence double precision,
    pinned boolean
);
CREATE FUNCTION memories_seen(org uuid, everyone boolean, viewer text, ids uuid[]) RETURNS memory_seen[]
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    RETURN ARRAY(SELECT ROW(memory_id, kind, user_id, agent_id, thread_id, role, speaker, text, metadata, sealed,
        occurred_at, created_at, updated_at, valid_from, valid_to, superseded_by, source_ids, confidence,
        pinned)::memory_seen FROM memories_by_id(org, everyone, viewer, ids));
END $$;
