-- Collections of vectors. This is the only place that must survive: every index can be made from it again.
-- Nothing here needs pgvector; where the server has it, searches cast to its type.

CREATE TABLE vector_collections (
    org_id uuid NOT NULL,
    collection_id uuid NOT NULL,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 64),
    dimensions integer NOT NULL CHECK (dimensions > 0),
    -- What made the vectors; never mixed in one collection.
    embedder_id text NOT NULL,
    -- Whether an embedder of DAC's makes the vectors, from texts.
    of_texts boolean NOT NULL,
    item_count bigint NOT NULL DEFAULT 0,
    -- The number of the last change. Changes hold the row's lock, so that their order is that of their commits.
    seq bigint NOT NULL DEFAULT 0,
    -- Removals up to this change are forgotten: who has not seen them reads everything anew.
    swept_seq bigint NOT NULL DEFAULT 0,
    -- The last change that the index outside PostgreSQL has, if there is one; below 0 = it must be filled anew.
    indexed_seq bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, collection_id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX vector_collections_name ON vector_collections (org_id, name);
ALTER TABLE vector_collections ENABLE ROW LEVEL SECURITY; ALTER TABLE vector_collections FORCE ROW LEVEL SECURITY;
CREATE POLICY vector_collections_org ON vector_collections USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY vector_collections_owner ON vector_collections TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE vector_items (
    org_id uuid NOT NULL,
    collection_id uuid NOT NULL,
    item_id text NOT NULL CHECK (char_length(item_id) BETWEEN 1 AND 128),
    -- The change that made this version; also its number in indexes, so that no number ever means two vectors.
    seq bigint NOT NULL,
    embedder_id text NOT NULL,
    text text NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}',
    -- Text and metadata when text at rest is sealed; the columns are empty then.
    sealed bytea,
    -- Numbers of (name, value) of the metadata, for filters.
    pairs bigint[] NOT NULL DEFAULT '{}',
    -- Of length 1, or zeros.
    embedding real[] NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, collection_id, item_id),
    FOREIGN KEY (org_id, collection_id) REFERENCES vector_collections (org_id, collection_id) ON DELETE CASCADE
);
-- Numbers are not worth compressing, and reading them from beside the row costs more than the search itself.
ALTER TABLE vector_items ALTER COLUMN embedding SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX vector_items_seq ON vector_items (org_id, collection_id, seq);
CREATE INDEX vector_items_pairs ON vector_items USING gin (pairs);
ALTER TABLE vector_items ENABLE ROW LEVEL SECURITY; ALTER TABLE vector_items FORCE ROW LEVEL SECURITY;
CREATE POLICY vector_items_org ON vector_items USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

-- Versions that are gone, for indexes that had them: numbers only.
CREATE TABLE vector_removals (
    org_id uuid NOT NULL,
    collection_id uuid NOT NULL,
    removed_seq bigint NOT NULL,
    seq bigint NOT NULL,
    removed_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, collection_id, removed_seq),
    FOREIGN KEY (org_id, collection_id) REFERENCES vector_collections (org_id, collection_id) ON DELETE CASCADE
);
CREATE INDEX vector_removals_seq ON vector_removals (org_id, collection_id, seq);
ALTER TABLE vector_removals ENABLE ROW LEVEL SECURITY; ALTER TABLE vector_removals FORCE ROW LEVEL SECURITY;
CREATE POLICY vector_removals_org ON vector_removals USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

-- Who brings the index outside up to date belongs to no organisation: it learns whose is behind, then acts inside each.
CREATE FUNCTION organisations_with_vectors_behind() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    SELECT DISTINCT org_id FROM vector_collections WHERE indexed_seq < seq
$$;
REVOKE ALL ON FUNCTION organisations_with_vectors_behind() FROM PUBLIC;
