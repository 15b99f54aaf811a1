-- Threads become trees: messages know the one before them, branches point to their last message, threads have an owner.
-- The program before goes on beside this: it reads by position and inserts without the new columns; triggers fill them.

ALTER TABLE threads
    -- Whose it is; '' = the organisation's.
    ADD COLUMN user_id text NOT NULL DEFAULT '',
    ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
    -- Numbers of the tags and of the title's words, for filters that work the same way when the texts are sealed.
    -- NULL = written by a program that did not know them.
    ADD COLUMN tag_terms bigint[],
    ADD COLUMN title_terms bigint[],
    ADD COLUMN model text NOT NULL DEFAULT '',
    -- A JSON object; '' = none.
    ADD COLUMN parameters text NOT NULL DEFAULT '',
    ADD COLUMN active_branch text NOT NULL DEFAULT 'main',
    -- False: the tree is one line in the order of positions.
    ADD COLUMN forked boolean NOT NULL DEFAULT false,
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN deleted_at timestamptz,
    -- What title, tags and parameters hold, when they are sealed; then those are empty.
    ADD COLUMN sealed bytea;
CREATE INDEX threads_of_user ON threads (org_id, user_id, created_at DESC, thread_id DESC);

ALTER TABLE messages
    -- The message before it; the nil UUID = the first of all. A trigger puts in what the program before leaves out.
    ADD COLUMN parent_id uuid,
    -- The branch it was written on.
    ADD COLUMN branch_id text NOT NULL DEFAULT 'main',
    ADD COLUMN status text NOT NULL DEFAULT 'COMPLETE' CHECK (status IN ('COMPLETE', 'PARTIAL')),
    ADD COLUMN finish_reason text NOT NULL DEFAULT '',
    -- The message that this one is another version of.
    ADD COLUMN replaces uuid,
    -- The message that this one is a copy of, made by a merge.
    ADD COLUMN copied_from uuid,
    ADD COLUMN deleted_at timestamptz,
    -- What text and openai_json hold, when they are sealed; then those are empty.
    ADD COLUMN sealed bytea,
    -- Numbers of the text's words, for search. NULL = not analysed yet.
    ADD COLUMN terms bigint[];

-- The rows of the program before are one line each, in the order of their positions. The owner of a table reads all its
-- rows only while row-level security is not forced.
ALTER TABLE threads NO FORCE ROW LEVEL SECURITY; ALTER TABLE messages NO FORCE ROW LEVEL SECURITY;
UPDATE messages SET parent_id = line.before_it
FROM (SELECT org_id, thread_id, position, coalesce(lag(message_id) OVER (PARTITION BY org_id, thread_id ORDER BY position),
        '00000000-0000-0000-0000-000000000000') AS before_it FROM messages) AS line
WHERE (messages.org_id, messages.thread_id, messages.position) = (line.org_id, line.thread_id, line.position);

ALTER TABLE messages ALTER COLUMN parent_id SET NOT NULL;

CREATE UNIQUE INDEX messages_by_id ON messages (org_id, thread_id, message_id);
CREATE INDEX messages_siblings ON messages (org_id, thread_id, parent_id);
CREATE INDEX messages_terms ON messages USING gin (terms);

CREATE TABLE branches (
    org_id uuid NOT NULL,
    thread_id text NOT NULL,
    -- 'main', or a UUIDv7.
    branch_id text NOT NULL,
    name text NOT NULL DEFAULT '',
    -- The last message; NULL = none yet.
    head_message_id uuid,
    -- The message it began after; NULL for the first of all.
    forked_from uuid,
    request_id text NOT NULL DEFAULT '',
    -- The last merge into it.
    merge_request_id text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- What name holds, when it is sealed.
    sealed bytea,
    PRIMARY KEY (org_id, thread_id, branch_id),
    FOREIGN KEY (org_id, thread_id) REFERENCES threads (org_id, thread_id) ON DELETE CASCADE
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX branches_once ON branches (org_id, thread_id, request_id) WHERE request_id <> '';
INSERT INTO branches (org_id, thread_id, branch_id, name, head_message_id, created_at, updated_at)
SELECT org_id, thread_id, 'main', 'main', (SELECT message_id FROM messages
    WHERE (messages.org_id, messages.thread_id) = (threads.org_id, threads.thread_id) ORDER BY position DESC LIMIT 1),
    created_at, updated_at FROM threads;
ALTER TABLE threads FORCE ROW LEVEL SECURITY; ALTER TABLE messages FORCE ROW LEVEL SECURITY;
ALTER TABLE branches ENABLE ROW LEVEL SECURITY; ALTER TABLE branches FORCE ROW LEVEL SECURITY;
CREATE POLICY branches_org ON branches USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

-- Every thread has the branch `main`, whoever makes it.
CREATE FUNCTION begin_main() RETURNS trigger LANGUAGE plpgsql SET search_path = memory, pg_temp AS $$
BEGIN
    INSERT INTO branches (org_id, thread_id, branch_id, name, created_at, updated_at)
    VALUES (NEW.org_id, NEW.thread_id, 'main', 'main', NEW.created_at, NEW.created_at);
    RETURN NULL;
END $$;
CREATE TRIGGER threads_main AFTER INSERT ON threads FOR EACH ROW EXECUTE FUNCTION begin_main();

-- The program before inserts without a parent, under the thread's lock: the message follows the active branch's head.
CREATE FUNCTION follow_active_branch() RETURNS trigger LANGUAGE plpgsql SET search_path = memory, pg_temp AS $$
DECLARE
    active text;
    head uuid;
BEGIN
    SELECT branch_id, head_message_id INTO active, head FROM branches
    WHERE org_id = NEW.org_id AND thread_id = NEW.thread_id AND branch_id = (
        SELECT active_branch FROM threads WHERE org_id = NEW.org_id AND thread_id = NEW.thread_id);
    NEW.branch_id := active;
    NEW.parent_id := coalesce(head, '00000000-0000-0000-0000-000000000000');
    UPDATE branches SET head_message_id = NEW.message_id, updated_at = NEW.created_at
    WHERE org_id = NEW.org_id AND thread_id = NEW.thread_id AND branch_id = active;
    -- Something else was written after the head: from here the order of positions is not the order of one branch.
    UPDATE threads SET forked = true WHERE org_id = NEW.org_id AND thread_id = NEW.thread_id AND NOT forked
        AND NEW.position - 1 IS DISTINCT FROM coalesce((SELECT position FROM messages
            WHERE org_id = NEW.org_id AND thread_id = NEW.thread_id AND message_id = head), -1);
    RETURN NEW;
END $$;
CREATE TRIGGER messages_follow BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.parent_id IS NULL)
    EXECUTE FUNCTION follow_active_branch();
