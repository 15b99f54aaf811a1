-- What is remembered: turns, facts and notes, with what finds them again; their history; summaries of threads.

-- One row for an organisation, locked by whoever changes its memories: the order of `seq` is the order of commits, and a
-- process that mirrors the memories never misses a row behind the `seq` that it has read.
CREATE TABLE memory_changes (
    org_id uuid NOT NULL PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,
    -- Tombstones up to here are gone: a mirror that is older is made anew.
    swept_seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
ALTER TABLE memory_changes ENABLE ROW LEVEL SECURITY; ALTER TABLE memory_changes FORCE ROW LEVEL SECURITY;
CREATE POLICY memory_changes_org ON memory_changes USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

CREATE TABLE memories (
    org_id uuid NOT NULL,
    -- A turn of a thread of ours has the id of its message.
    memory_id uuid NOT NULL,
    seq bigint NOT NULL,
    -- 1 turn, 2 fact, 3 note (MemoryKind).
    kind smallint NOT NULL CHECK (kind IN (1, 2, 3)),
    -- Whose it is; '' = the organisation's keys.
    user_id text NOT NULL DEFAULT '',
    agent_id text NOT NULL DEFAULT '',
    thread_id text NOT NULL DEFAULT '',
    role text NOT NULL DEFAULT '',
    speaker text NOT NULL DEFAULT '',
    text text NOT NULL,
    -- A JSON object of texts; '' = none.
    metadata text NOT NULL DEFAULT '',
    -- What speaker, text and metadata hold, when they are sealed; then those are empty.
    sealed bytea,
    -- The number of the whole text, to know the same text again; those of its words; those of its metadata's entries.
    text_id bigint NOT NULL DEFAULT 0,
    terms bigint[] NOT NULL DEFAULT '{}',
    metadata_terms bigint[] NOT NULL DEFAULT '{}',
    -- The turn before it in its thread.
    previous_id uuid,
    request_id text NOT NULL DEFAULT '',
    ordinal integer NOT NULL DEFAULT 0,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    valid_from timestamptz,
    valid_to timestamptz,
    superseded_by uuid,
    source_ids text[] NOT NULL DEFAULT '{}',
    confidence double precision NOT NULL DEFAULT 0 CHECK (confidence BETWEEN 0 AND 1),
    pinned boolean NOT NULL DEFAULT false,
    -- Which embedder made the vectors; '' = none yet. Half-precision numbers, little endian; the second is of the turn
    -- together with the one before it.
    embedder_id text NOT NULL DEFAULT '',
    vector bytea,
    window_vector bytea,
    -- A tombstone: nothing but its id, owner and `seq` is left.
    deleted_at timestamptz,
    PRIMARY KEY (org_id, memory_id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX memories_seq ON memories (org_id, seq);
CREATE INDEX memories_newest ON memories (org_id, user_id, created_at DESC, memory_id DESC) WHERE deleted_at IS NULL;
CREATE INDEX memories_of_thread ON memories (org_id, thread_id, created_at DESC, memory_id DESC)
    WHERE deleted_at IS NULL AND thread_id <> '';
CREATE INDEX memories_after ON memories (org_id, previous_id) WHERE previous_id IS NOT NULL;
CREATE INDEX memories_same_text ON memories (org_id, text_id) WHERE deleted_at IS NULL AND kind <> 1;
CREATE UNIQUE INDEX memories_once ON memories (org_id, user_id, request_id, ordinal) WHERE request_id <> '' AND deleted_at IS NULL;
CREATE INDEX memories_to_embed ON memories (embedder_id, org_id) WHERE deleted_at IS NULL;
CREATE INDEX memories_to_sweep ON memories (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX memories_pinned ON memories (org_id, user_id) WHERE deleted_at IS NULL AND kind = 2;
ALTER TABLE memories ENABLE ROW LEVEL SECURITY; ALTER TABLE memories FORCE ROW LEVEL SECURITY;
CREATE POLICY memories_org ON memories USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY memories_owner ON memories TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE memory_history (
    org_id uuid NOT NULL,
    memory_id uuid NOT NULL,
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    user_id text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL,
    action text NOT NULL CHECK (action IN ('created', 'updated', 'superseded', 'deleted')),
    key_id text NOT NULL DEFAULT '',
    -- The memory after the change as JSON; '' once it is deleted.
    snapshot text NOT NULL DEFAULT '',
    -- What snapshot holds, when it is sealed; then that is empty.
    sealed bytea,
    PRIMARY KEY (org_id, memory_id, change_id)
);
ALTER TABLE memory_history ENABLE ROW LEVEL SECURITY; ALTER TABLE memory_history FORCE ROW LEVEL SECURITY;
CREATE POLICY memory_history_org ON memory_history USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

CREATE TABLE thread_summaries (
    org_id uuid NOT NULL,
    thread_id text NOT NULL,
    -- The last message that it covers.
    until_message_id uuid NOT NULL,
    -- 'extracted', or the model's name.
    written_by text NOT NULL,
    messages_covered bigint NOT NULL,
    text text NOT NULL,
    written_at timestamptz NOT NULL,
    -- What text holds, when it is sealed; then that is empty.
    sealed bytea,
    PRIMARY KEY (org_id, thread_id, until_message_id, written_by),
    FOREIGN KEY (org_id, thread_id) REFERENCES threads (org_id, thread_id) ON DELETE CASCADE
);
ALTER TABLE thread_summaries ENABLE ROW LEVEL SECURITY; ALTER TABLE thread_summaries FORCE ROW LEVEL SECURITY;
CREATE POLICY thread_summaries_org ON thread_summaries USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

-- Workers belong to no organisation: they learn which have work, and then act inside each.
CREATE FUNCTION organisations_with_memories_to_embed(embedder text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    SELECT DISTINCT org_id FROM memories WHERE deleted_at IS NULL AND (embedder_id < embedder OR embedder_id > embedder)
$$;
REVOKE ALL ON FUNCTION organisations_with_memories_to_embed(text) FROM PUBLIC;
CREATE FUNCTION organisations_with_deleted_memories(before timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    SELECT DISTINCT org_id FROM memories WHERE deleted_at <= before
$$;
REVOKE ALL ON FUNCTION organisations_with_deleted_memories(timestamptz) FROM PUBLIC;

-- Whose and which memories: every filter that is set narrows. Planned as a part of the statement that calls it.
CREATE FUNCTION memories_that_fit(
    of_org uuid, everyone boolean, viewer text, of_user text, of_agent text, of_thread text, of_kinds smallint[],
    since timestamptz, until timestamptz, holding_at timestamptz, with_metadata bigint[], among uuid[]
) RETURNS SETOF memories LANGUAGE sql STABLE AS $$
    SELECT * FROM memories WHERE org_id = of_org AND deleted_at IS NULL AND (everyone OR user_id = viewer)
        AND (of_user = '' OR user_id = of_user) AND (of_agent = '' OR agent_id = of_agent)
        AND (of_thread = '' OR thread_id = of_thread)
        AND (cardinality(of_kinds) = 0 OR kind = ANY (of_kinds))
        AND (since IS NULL OR occurred_at >= since) AND (until IS NULL OR occurred_at < until)
        AND (holding_at IS NULL OR kind <> 2 OR ((valid_from IS NULL OR valid_from <= holding_at)
            AND (valid_to IS NULL OR valid_to > holding_at)))
        AND (cardinality(with_metadata) = 0 OR metadata_terms @> with_metadata)
        AND (cardinality(among) = 0 OR memory_id = ANY (among))
$$;
REVOKE ALL ON FUNCTION memories_that_fit(uuid, boolean, text, text, text, text, smallint[], timestamptz, timestamptz,
    timestamptz, bigint[], uuid[]) FROM PUBLIC;

-- Turns that no memory was made of: those from before this migration, and those that the program before still writes.
CREATE POLICY messages_recall ON messages FOR SELECT TO dac_owner USING (true);
CREATE FUNCTION organisations_with_unremembered_turns() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    SELECT DISTINCT org_id FROM messages WHERE role IN ('user', 'assistant') AND deleted_at IS NULL AND copied_from IS NULL
        AND NOT EXISTS (SELECT FROM memories WHERE memories.org_id = messages.org_id
            AND memories.memory_id = messages.message_id)
$$;
REVOKE ALL ON FUNCTION organisations_with_unremembered_turns() FROM PUBLIC;
