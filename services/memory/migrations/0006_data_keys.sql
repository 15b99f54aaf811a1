-- Data keys: what seals an organisation's text, wrapped by a subkey of the master key; and where sealing old rows stands.

CREATE TABLE data_keys (
    org_id uuid NOT NULL,
    key_id uuid NOT NULL,
    -- text: seals rows; one at a time, earlier ones open until no row needs them. terms: numbers the terms of search.
    purpose text NOT NULL CHECK (purpose IN ('text', 'terms')),
    -- Empty when destroyed.
    wrapped_key bytea NOT NULL,
    master_key_id text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Since when another key seals.
    retired_at timestamptz,
    destroyed_at timestamptz,
    PRIMARY KEY (org_id, key_id),
    CHECK ((destroyed_at IS NULL) = (octet_length(wrapped_key) > 0))
);
CREATE UNIQUE INDEX data_keys_present ON data_keys (org_id, purpose) WHERE retired_at IS NULL AND destroyed_at IS NULL;
ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY data_keys_org ON data_keys USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY data_keys_owner ON data_keys TO dac_owner USING (true) WITH CHECK (true);

-- How far the sealing of old rows is, by organisation and table.
CREATE TABLE seal_walks (
    org_id uuid NOT NULL,
    table_name text NOT NULL,
    -- The data key that all rows shall be sealed by.
    goal uuid NOT NULL,
    -- The last row that was looked at; empty = none yet.
    after text[] NOT NULL DEFAULT '{}',
    begun_at timestamptz NOT NULL,
    done_at timestamptz,
    PRIMARY KEY (org_id, table_name)
);
ALTER TABLE seal_walks ENABLE ROW LEVEL SECURITY; ALTER TABLE seal_walks FORCE ROW LEVEL SECURITY;
CREATE POLICY seal_walks_org ON seal_walks USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

-- Administrative changes on their way to audit, written in the transaction of the change. The organisation is in the record.
CREATE TABLE change_outbox (
    record_id uuid PRIMARY KEY,
    record bytea NOT NULL
);

-- A row must not be sealed by a key that is destroyed: not by a replica that still holds it, not while it is destroyed.
-- The lock lasts until the writer's transaction ends, so that destroying waits for it, and deletes what it wrote.
-- 40000 = try again: the next try is given another key.
CREATE FUNCTION check_data_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM memory.data_keys
        WHERE org_id = NEW.org_id AND key_id = encode(substring(NEW.sealed FROM 2 FOR 16), 'hex')::uuid
        AND destroyed_at IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the data key of this row is destroyed' USING ERRCODE = '40000';
    END IF;
    RETURN NEW;
END $$;
-- In the order in which a turn writes, also the program before: the triggers come in another, and would wait for each other.
LOCK TABLE threads, messages IN ACCESS EXCLUSIVE MODE;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT table_name FROM information_schema.columns
        WHERE table_schema = 'memory' AND column_name = 'sealed' ORDER BY table_name
    LOOP
        EXECUTE format('CREATE TRIGGER check_data_key BEFORE INSERT OR UPDATE OF sealed ON %I '
            'FOR EACH ROW WHEN (NEW.sealed IS NOT NULL) EXECUTE FUNCTION check_data_key()', name);
    END LOOP;
END $$;

-- Whether a row of any table, also one that the program does not know, is sealed by this key.
CREATE FUNCTION data_key_in_use(org uuid, key uuid) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = memory, pg_temp AS $$
DECLARE
    name text;
    found boolean;
    header bytea := '\x01'::bytea || uuid_send(key);
BEGIN
    FOR name IN SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'memory'::regnamespace AND c.relkind = 'r' AND a.attname = 'sealed'
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE org_id = $1 AND substring(sealed FROM 1 FOR 17) = $2)', name)
            INTO found USING org, header;
        IF found THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END $$;

-- Deletes every row of an organisation, also of tables that the program does not know; its data keys stay.
CREATE FUNCTION erase_rows(org uuid) RETURNS bigint LANGUAGE plpgsql SET search_path = memory, pg_temp AS $$
DECLARE
    name text;
    deleted bigint;
    total bigint := 0;
BEGIN
    -- Whoever writes to a thread has locked it.
    PERFORM FROM threads WHERE org_id = org FOR UPDATE;
    FOR name IN SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'memory'::regnamespace AND c.relkind = 'r' AND a.attname = 'org_id'
        AND c.relname <> 'data_keys' ORDER BY c.relname = 'threads', c.relname
    LOOP
        IF EXISTS (SELECT FROM pg_attribute a JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
            WHERE a.attrelid = name::regclass AND a.attname = 'seq' AND i.indnatts = 1)
        THEN
            -- The counter that mirrors follow does not go back: what they have is older than what is swept.
            EXECUTE format('UPDATE %I SET seq = seq + 1 WHERE org_id = $1', name) USING org;
            IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = name::regclass AND attname = 'swept_seq') THEN
                EXECUTE format('UPDATE %I SET swept_seq = seq WHERE org_id = $1', name) USING org;
            END IF;
        ELSE
            EXECUTE format('DELETE FROM %I WHERE org_id = $1', name) USING org;
            GET DIAGNOSTICS deleted = ROW_COUNT;
            total := total + deleted;
        END IF;
    END LOOP;
    RETURN total;
END $$;

-- The ways across organisations: whose text there is, and whose keys hang on another master key than the present one.
CREATE POLICY threads_sealing ON threads FOR SELECT TO dac_owner USING (true);
CREATE FUNCTION organisations_with_text() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    WITH RECURSIVE found AS (
        (SELECT t.org_id FROM threads t ORDER BY t.org_id LIMIT 1)
        UNION ALL
        SELECT (SELECT t.org_id FROM threads t WHERE t.org_id > f.org_id ORDER BY t.org_id LIMIT 1)
        FROM found f WHERE f.org_id IS NOT NULL
    )
    SELECT f.org_id FROM found f WHERE f.org_id IS NOT NULL
    UNION SELECT k.org_id FROM data_keys k WHERE k.destroyed_at IS NULL
$$;
REVOKE ALL ON FUNCTION organisations_with_text() FROM PUBLIC;
CREATE FUNCTION stale_data_keys(present text) RETURNS TABLE (org_id uuid, stale bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    SELECT k.org_id, count(*) FROM data_keys k
    WHERE k.master_key_id <> present AND k.destroyed_at IS NULL GROUP BY k.org_id
$$;
REVOKE ALL ON FUNCTION stale_data_keys(text) FROM PUBLIC;
