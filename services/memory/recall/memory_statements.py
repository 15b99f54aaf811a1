"""The statements of the memories' store; what goes in and comes out is in rows.py."""

from __future__ import annotations

NEXT = """INSERT INTO memory_changes (org_id, seq) VALUES ($1, $2)
    ON CONFLICT (org_id) DO UPDATE SET seq = memory_changes.seq + EXCLUDED.seq RETURNING seq"""
SAME_TEXT = "SELECT memory_id, text_id, kind, user_id, agent_id, thread_id FROM memories_saying($1, $2, $3)"
BEGIN_KEEPING = "SELECT begin_keeping($1, $2, $3, $4, $5, $6, $7, $8)"
LAST_TURN = "SELECT last_memory_of_thread($1, $2, $3, $4)"
INSERT = """INSERT INTO memories (org_id, memory_id, seq, kind, user_id, agent_id, thread_id, role, speaker, text,
    metadata, sealed, text_id, terms, metadata_terms, previous_id, request_id, ordinal, occurred_at, created_at,
    updated_at, valid_from, valid_to, superseded_by, source_ids, confidence, pinned, embedder_id, vector)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
    $23, $24, $25, $26, $27, $28, $29) ON CONFLICT (org_id, memory_id) DO UPDATE SET
    seq = EXCLUDED.seq, kind = EXCLUDED.kind, user_id = EXCLUDED.user_id, agent_id = EXCLUDED.agent_id, thread_id =
    EXCLUDED.thread_id, role = EXCLUDED.role, speaker = EXCLUDED.speaker, text = EXCLUDED.text, metadata =
    EXCLUDED.metadata, sealed = EXCLUDED.sealed, text_id = EXCLUDED.text_id, terms = EXCLUDED.terms, metadata_terms
    = EXCLUDED.metadata_terms, previous_id = EXCLUDED.previous_id, request_id = EXCLUDED.request_id, ordinal =
    EXCLUDED.ordinal, occurred_at = EXCLUDED.occurred_at, created_at = EXCLUDED.created_at, updated_at =
    EXCLUDED.updated_at, valid_from = EXCLUDED.valid_from, valid_to = EXCLUDED.valid_to, superseded_by =
    EXCLUDED.superseded_by, source_ids = EXCLUDED.source_ids, confidence = EXCLUDED.confidence, pinned =
    EXCLUDED.pinned, embedder_id = EXCLUDED.embedder_id, vector = EXCLUDED.vector, window_vector = NULL, deleted_at
    = NULL
    WHERE memories.deleted_at IS NOT NULL"""
HISTORY = """INSERT INTO memory_history (org_id, memory_id, user_id, changed_at, action, key_id, snapshot, sealed)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
SUPERSEDE = """UPDATE memories SET superseded_by = $2, valid_to = least(valid_to, $3), updated_at = $4, seq = $5
    WHERE org_id = $1 AND memory_id = $6 AND user_id = $7 AND kind = 2 AND deleted_at IS NULL
    RETURNING memory_id, kind, user_id, agent_id, thread_id, role, speaker, text, metadata, sealed, occurred_at,
    created_at, updated_at, valid_from, valid_to, superseded_by, source_ids, confidence, pinned"""
READ = "SELECT memories_seen($1, $2, $3, $4)"
NEWEST = """SELECT memory_id, kind, user_id, agent_id, thread_id, role, speaker, text, metadata, sealed, occurred_at,
    created_at, updated_at, valid_from, valid_to, superseded_by, source_ids, confidence, pinned
    FROM memories_that_fit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    WHERE $13::timestamptz IS NULL OR (created_at, memory_id) < ($13, $14::uuid)
    ORDER BY created_at DESC, memory_id DESC LIMIT $15"""
OLDEST = """SELECT memory_id, kind, user_id, agent_id, thread_id, role, speaker, text, metadata, sealed, occurred_at,
    created_at, updated_at, valid_from, valid_to, superseded_by, source_ids, confidence, pinned
    FROM memories_that_fit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    WHERE $13::timestamptz IS NULL OR (created_at, memory_id) > ($13, $14::uuid)
    ORDER BY created_at, memory_id LIMIT $15"""
COUNTS = """SELECT kind, count(*) AS many
    FROM memories_that_fit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) GROUP BY kind"""
UPDATE = """UPDATE memories SET seq = $4, speaker = $5, text = $6, metadata = $7, sealed = $8, metadata_terms = $9,
    updated_at = $10, valid_from = $11, valid_to = $12, superseded_by = $13, confidence = $14, pinned = $15
    WHERE org_id = $1 AND memory_id = $2 AND user_id = $3 AND deleted_at IS NULL"""
RETEXT = """UPDATE memories SET text_id = $3, terms = $4, embedder_id = $5, vector = $6, window_vector = NULL
    WHERE org_id = $1 AND memory_id = $2"""
FORGET = """UPDATE memories SET seq = $13 + n, agent_id = '', thread_id = '', role = '', speaker = '', text = '',
    metadata = '', sealed = NULL, text_id = 0, terms = '{}', metadata_terms = '{}', previous_id = NULL, request_id = '',
    valid_from = NULL, valid_to = NULL, superseded_by = NULL, source_ids = '{}', confidence = 0, pinned = false,
    embedder_id = '', vector = NULL, window_vector = NULL, deleted_at = $14, updated_at = $14
    FROM (SELECT memory_id AS going, row_number() OVER () AS n
          FROM memories_that_fit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)) AS these
    WHERE org_id = $1 AND memory_id = going RETURNING memory_id, user_id"""
UNCHAIN = """UPDATE memories SET seq = $3 + n, previous_id = NULL, window_vector = NULL
    FROM (SELECT memory_id AS left_behind, row_number() OVER () AS n FROM memories
          WHERE org_id = $1 AND previous_id = ANY ($2) AND deleted_at IS NULL) AS these
    WHERE org_id = $1 AND memory_id = left_behind"""
BLANK_HISTORY = """UPDATE memory_history SET snapshot = '', sealed = NULL
    WHERE org_id = $1 AND memory_id = ANY ($2)"""
TELL_DELETED = """INSERT INTO memory_history (org_id, memory_id, user_id, changed_at, action, key_id)
    SELECT $1, gone.memory_id, gone.user_id, $4, 'deleted', $5
    FROM unnest($2::uuid[], $3::text[]) AS gone (memory_id, user_id)"""
ERASE_HISTORY = """DELETE FROM memory_history WHERE org_id = $1 AND (memory_id = ANY ($2)
    OR ($3::boolean AND ($4::boolean OR user_id = $5)) OR (memory_id = ANY ($6) AND ($4::boolean OR user_id = $5)))"""
READ_HISTORY = """SELECT memory_id, changed_at, action, key_id, snapshot, sealed FROM memory_history
    WHERE org_id = $1 AND ($2::boolean OR user_id = $3) AND memory_id = $4 ORDER BY change_id"""
CHANGES = "SELECT changes_of_memories($1, $2, $3, $4, $5, $6)"
TO_EMBED = """SELECT memory_id, seq, kind, speaker, text, metadata, sealed, previous_id
    FROM memories_to_embed_of($1, $2, $3)"""
SAID = "SELECT memory_id, speaker, text, metadata, sealed FROM memories_by_id($1, true, '', $2)"
PUT_VECTORS = "SELECT put_memory_vectors($1, $2, $3, $4, $5, $6)"
SWEEP = """WITH gone AS (DELETE FROM memories WHERE org_id = $1 AND memory_id IN (
        SELECT memory_id FROM memories WHERE org_id = $1 AND deleted_at <= $2 AND NOT EXISTS (
            SELECT FROM messages WHERE messages.org_id = $1 AND messages.message_id = memories.memory_id)
        LIMIT $3) RETURNING seq)
    UPDATE memory_changes SET swept_seq = greatest(swept_seq, (SELECT max(seq) FROM gone))
    WHERE org_id = $1 AND EXISTS (SELECT FROM gone) RETURNING (SELECT count(*) FROM gone)"""
DROP_SUMMARIES = "DELETE FROM thread_summaries WHERE org_id = $1 AND thread_id = $2"
DROP_HISTORY = "DELETE FROM memory_history WHERE org_id = $1 AND memory_id = ANY ($2)"
THREAD_OWNER = "SELECT user_id FROM threads WHERE org_id = $1 AND thread_id = $2"
