-- Search in messages, the numbers of their words for rows that have none yet, and what a batch did.

-- Row-level security asks only leakproof questions of an index, and "these numbers are in that list" is none: under it the
-- index on messages.terms is never used. This function may use it; it answers only for the organisation that is set.
CREATE POLICY threads_archive ON threads FOR SELECT TO dac_owner USING (true);
CREATE POLICY messages_archive ON messages FOR SELECT TO dac_owner USING (true);
CREATE FUNCTION find_messages(
    org uuid, wanted bigint[], every_word boolean, most integer, in_thread text, viewer text, all_users boolean,
    of_user text, roles text[], models text[], tag_numbers bigint[], since timestamptz, before timestamptz)
RETURNS TABLE (thread_id text, "position" bigint, message_id uuid, created_at timestamptz, length integer, counts integer[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = memory, pg_temp SET jit = off
SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
    IF org <> ALL (coalesce(string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[], '{}')) THEN
        RAISE EXCEPTION 'this transaction is not of organisation %', org USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The newest messages with all the words, and of each single word the newest ones.
    RETURN QUERY
    WITH arms AS (
        SELECT wanted AS words
        UNION SELECT ARRAY[word] FROM unnest(wanted) AS word WHERE NOT every_word AND in_thread = ''
    ), picked AS (
        SELECT DISTINCT ON (found.thread_id, found.position) found.* FROM arms, LATERAL (
            SELECT m.thread_id, m.position, m.message_id, m.created_at, m.terms
            FROM messages m JOIN threads t ON t.org_id = m.org_id AND t.thread_id = m.thread_id
            -- DISTINCT: an index on org_id would read all of an organisation for every word.
            WHERE in_thread = '' AND m.terms @> arms.words AND m.org_id IS NOT DISTINCT FROM org
                AND m.deleted_at IS NULL AND t.deleted_at IS NULL AND (t.user_id = viewer OR all_users)
                AND (of_user IS NULL OR t.user_id = of_user)
                AND (cardinality(roles) = 0 OR m.role = ANY (roles))
                AND (cardinality(models) = 0 OR m.model = ANY (models))
                AND (cardinality(tag_numbers) = 0 OR t.tag_terms @> tag_numbers)
                AND (since IS NULL OR m.created_at >= since) AND (before IS NULL OR m.created_at < before)
            ORDER BY m.created_at DESC, m.thread_id, m.position LIMIT most) AS found
        UNION ALL (
            SELECT m.thread_id, m.position, m.message_id, m.created_at, m.terms
            FROM messages m JOIN threads t ON t.org_id = m.org_id AND t.thread_id = m.thread_id
            WHERE in_thread <> '' AND m.org_id = org AND m.thread_id = in_thread
                AND CASE WHEN every_word THEN m.terms @> wanted ELSE m.terms && wanted END
                AND m.deleted_at IS NULL AND t.deleted_at IS NULL AND (t.user_id = viewer OR all_users)
                AND (of_user IS NULL OR t.user_id = of_user)
                AND (cardinality(roles) = 0 OR m.role = ANY (roles))
                AND (cardinality(models) = 0 OR m.model = ANY (models))
                AND (cardinality(tag_numbers) = 0 OR t.tag_terms @> tag_numbers)
                AND (since IS NULL OR m.created_at >= since) AND (before IS NULL OR m.created_at < before)
            ORDER BY m.position DESC LIMIT most)
    )
    SELECT p.thread_id, p.position, p.message_id, p.created_at, cardinality(p.terms),
        ARRAY(SELECT cardinality(array_positions(p.terms, word))
              FROM unnest(wanted) WITH ORDINALITY AS asked (word, place) ORDER BY place)
    FROM picked AS p;
END $$;
REVOKE ALL ON FUNCTION find_messages(uuid, bigint[], boolean, integer, text, text, boolean, text, text[], text[], bigint[],
    timestamptz, timestamptz) FROM PUBLIC;

-- Rows of a program that numbered no words: a worker belongs to no organisation, learns which have some, and acts inside each.
CREATE INDEX messages_unnumbered ON messages (org_id, thread_id, position) WHERE terms IS NULL;
CREATE FUNCTION organisations_with_unnumbered_messages(most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = memory, pg_temp AS $$
    WITH RECURSIVE found AS (
        (SELECT m.org_id FROM messages m WHERE m.terms IS NULL ORDER BY m.org_id LIMIT 1)
        UNION ALL
        SELECT (SELECT m.org_id FROM messages m WHERE m.terms IS NULL AND m.org_id > f.org_id ORDER BY m.org_id LIMIT 1)
        FROM found f WHERE f.org_id IS NOT NULL
    )
    SELECT f.org_id FROM found f WHERE f.org_id IS NOT NULL LIMIT most
$$;
REVOKE ALL ON FUNCTION organisations_with_unnumbered_messages(integer) FROM PUBLIC;

-- What each change of a batch did, kept for a day: the same request again does nothing twice. It holds no text of a user.
CREATE TABLE batches (
    org_id uuid NOT NULL,
    -- Whose request it is: the caller's user, or '' for the organisation's keys.
    user_id text NOT NULL,
    request_id text NOT NULL CHECK (char_length(request_id) BETWEEN 1 AND 128),
    -- Of the changes, so that others with the same request id are known.
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL,
    -- Since when somebody is at it.
    claimed_at timestamptz NOT NULL,
    -- Of the changes that were tried, in their order; a reason '' = made.
    thread_ids text[] NOT NULL DEFAULT '{}',
    reasons text[] NOT NULL DEFAULT '{}',
    messages text[] NOT NULL DEFAULT '{}',
    done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (org_id, user_id, request_id)
);
CREATE INDEX batches_age ON batches (org_id, created_at);
ALTER TABLE batches ENABLE ROW LEVEL SECURITY; ALTER TABLE batches FORCE ROW LEVEL SECURITY;
CREATE POLICY batches_org ON batches USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
