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

-- What keeping memories begins with: numbers for the changes, what the request saved before, which of the named turns are
-- there, and the last turn of a thread. As in 0008, each is found through the index of its key: reading all that an
-- organisation has would take as long as that is large, and others wait for the numbers.
CREATE FUNCTION last_memory_of_thread(org uuid, of_thread text, of_user text, of_agent text) RETURNS uuid
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN (SELECT m.memory_id FROM memories m WHERE m.org_id = org AND m.thread_id >= of_thread
        AND m.thread_id <= of_thread AND m.user_id = of_user AND m.agent_id = of_agent AND m.kind = 1
        AND m.deleted_at IS NULL AND m.thread_id <> '' AND of_thread <> ''
        ORDER BY m.thread_id, m.created_at DESC, m.memory_id DESC LIMIT 1);
END $$;
CREATE TYPE memories_looked AS (last_seq bigint, saved text, there text[], last_turn text);
CREATE FUNCTION begin_keeping(
    org uuid, many integer, owners text[], request text, named uuid[], of_thread text, of_user text, of_agent text
) RETURNS memories_looked LANGUAGE plpgsql
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    looked memories_looked;
BEGIN
    INSERT INTO memory_changes (org_id, seq) VALUES (org, many)
        ON CONFLICT (org_id) DO UPDATE SET seq = memory_changes.seq + EXCLUDED.seq RETURNING seq INTO looked.last_seq;
    IF request <> '' THEN
        looked.saved := (SELECT json_agg(json_build_array(there.user_id, there.ordinal, there.memory_id))
            FROM unnest(owners) AS whose (owner) CROSS JOIN LATERAL (SELECT * FROM memories m WHERE m.org_id = org
                AND m.user_id = whose.owner AND m.request_id >= request AND m.request_id <= request
                AND m.request_id <> '' AND m.deleted_at IS NULL ORDER BY m.request_id, m.ordinal) AS there);
    END IF;
    IF cardinality(named) > 0 THEN
        looked.there := ARRAY(SELECT m.memory_id::text FROM memories_by_id(org, true, '', named) m);
    END IF;
    looked.last_turn := last_memory_of_thread(org, of_thread, of_user, of_agent)::text;
    RETURN looked;
END $$;

-- Facts and notes that hold at a moment and say one of these texts.
CREATE FUNCTION memories_saying(org uuid, texts bigint[], at timestamptz) RETURNS SETOF memories
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY SELECT there.* FROM unnest(texts) AS wanted (id) CROSS JOIN LATERAL (SELECT * FROM memories m
        WHERE m.org_id = org AND m.text_id >= wanted.id AND m.text_id <= wanted.id AND m.kind <> 1
        AND m.deleted_at IS NULL AND m.superseded_by IS NULL AND (m.valid_to IS NULL OR m.valid_to > at)
        ORDER BY m.text_id) AS there;
END $$;

-- Vectors of memories that have not changed since, in one round trip: others wait for their numbers meanwhile.
CREATE FUNCTION put_memory_vectors(
    org uuid, embedder text, ids uuid[], known bigint[], of_texts bytea[], of_windows bytea[]
) RETURNS integer LANGUAGE plpgsql
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    last_seq bigint;
    done integer;
BEGIN
    PERFORM set_config('app.org_ids', org::text, true);
    INSERT INTO memory_changes (org_id, seq) VALUES (org, cardinality(ids))
        ON CONFLICT (org_id) DO UPDATE SET seq = memory_changes.seq + EXCLUDED.seq RETURNING seq INTO last_seq;
    UPDATE memories m SET seq = last_seq - cardinality(ids) + these.place, embedder_id = embedder,
        vector = these.of_text, window_vector = these.of_window
        FROM (SELECT wanted.place, wanted.of_text, wanted.of_window, there.row_place
            FROM unnest(ids, known, of_texts, of_windows) WITH ORDINALITY AS wanted (id, seq, of_text, of_window, place)
            CROSS JOIN LATERAL (SELECT c.ctid AS row_place FROM memories c WHERE c.org_id = org
                AND c.memory_id >= wanted.id AND c.memory_id <= wanted.id AND c.seq = wanted.seq
                AND c.deleted_at IS NULL ORDER BY c.memory_id LIMIT 1) AS there) AS these
        WHERE m.org_id = org AND m.ctid = these.row_place;
    GET DIAGNOSTICS done = ROW_COUNT;
    RETURN done;
END $$;
