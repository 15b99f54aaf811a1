-- As in 0008: what is looked up by key is found through its index, also in a table that was never analysed.
CREATE FUNCTION memories_by_id(of_org uuid, everyone boolean, viewer text, ids uuid[])
RETURNS SETOF memories LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY SELECT there.* FROM unnest(ids) AS wanted (id) CROSS JOIN LATERAL (
        SELECT * FROM memories m WHERE m.org_id = of_org AND m.memory_id >= wanted.id AND m.memory_id <= wanted.id
        AND m.deleted_at IS NULL AND (everyone OR m.user_id = viewer) ORDER BY m.memory_id LIMIT 1) AS there;
END $$;

-- Memories without vectors of an embedder: those without any first, the newest first.
CREATE FUNCTION memories_to_embed_of(of_org uuid, embedder text, at_most integer)
RETURNS SETOF memories LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY (SELECT * FROM memories m WHERE m.org_id = of_org AND m.deleted_at IS NULL AND m.embedder_id < embedder
        ORDER BY m.embedder_id, m.created_at DESC LIMIT at_most)
    UNION ALL (SELECT * FROM memories m WHERE m.org_id = of_org AND m.deleted_at IS NULL AND m.embedder_id > embedder
        ORDER BY m.embedder_id, m.created_at DESC LIMIT at_most) LIMIT at_most;
END $$;
