-- What was said in requests, where an organisation's texts are recorded: sealed, and gone when their request's record goes.

CREATE TABLE request_texts (
  org_id uuid NOT NULL,
  request_id uuid NOT NULL,
  text bytea NOT NULL,
  PRIMARY KEY (org_id, request_id),
  -- Whatever takes a record away, takes its text away in the same transaction: erasure, pruning, and what comes later.
  FOREIGN KEY (org_id, request_id) REFERENCES requests ON DELETE CASCADE,
  -- Sealed, or not at all.
  CHECK (substring(text FROM 1 FOR 1) = '\x00')
);
ALTER TABLE request_texts ALTER COLUMN text SET STORAGE EXTERNAL;
ALTER TABLE request_texts ENABLE ROW LEVEL SECURITY; ALTER TABLE request_texts FORCE ROW LEVEL SECURITY;
CREATE POLICY request_texts_org ON request_texts USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY request_texts_owner ON request_texts TO dac_owner USING (true) WITH CHECK (true);
CREATE TRIGGER request_texts_stay BEFORE UPDATE OR TRUNCATE ON request_texts
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Only the deletion of its request reaches a text.
CREATE TRIGGER request_texts_go_with_their_request BEFORE DELETE ON request_texts
  FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_change();
