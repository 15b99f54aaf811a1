-- Filters for auditors, and what witnesses have cosigned.

-- A text field of a serialised AdminRecord, the last one as in protobuf, and its first 256 characters: an index takes no
-- long ones. Empty when it is not there, and for what is no such record: no record may stop an insert.
CREATE FUNCTION change_field(record bytea, wanted integer) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  at integer := 0; tag integer; value integer; shift integer; part integer; found bytea := '';
BEGIN
  WHILE at < coalesce(length(record), 0) LOOP
    tag := get_byte(record, at);
    IF tag > 127 OR tag & 7 NOT IN (0, 2) THEN RETURN ''; END IF;
    value := 0; shift := 0;
    LOOP
      at := at + 1;
      part := get_byte(record, at);
      IF shift < 28 THEN value := value | ((part & 127) << shift); END IF;
      shift := shift + 7;
      EXIT WHEN part < 128;
    END LOOP;
    at := at + 1;
    IF tag & 7 = 2 THEN
      IF at + value > length(record) THEN RETURN ''; END IF;
      IF tag >> 3 = wanted THEN found := substring(record FROM at + 1 FOR value); END IF;
      at := at + value;
    END IF;
  END LOOP;
  RETURN left(convert_from(found, 'UTF8'), 256);
EXCEPTION WHEN OTHERS THEN
  RETURN '';
END $$;

-- Generated from the record that the log commits to: a filter cannot say anything else than it. Replicas of before this
-- migration insert as they did.
ALTER TABLE changes
  ADD COLUMN actor text COLLATE "C" GENERATED ALWAYS AS (change_field(record, 3)) STORED,
  ADD COLUMN action text COLLATE "C" GENERATED ALWAYS AS (change_field(record, 4)) STORED,
  ADD COLUMN target text COLLATE "C" GENERATED ALWAYS AS (change_field(record, 5)) STORED;
CREATE INDEX changes_by_actor ON changes (org_id, actor, at DESC, record_id DESC);
CREATE INDEX changes_by_action ON changes (org_id, action, at DESC);
CREATE INDEX changes_by_target ON changes (org_id, target, at DESC);

-- NULL = stored by a version of before this migration: who lists looks into the record itself.
ALTER TABLE requests ADD COLUMN actor text COLLATE "C", ADD COLUMN operation text COLLATE "C";
CREATE INDEX IF NOT EXISTS requests_by_actor ON requests (org_id, actor, started_at DESC, request_id DESC);
CREATE INDEX IF NOT EXISTS requests_by_model ON requests (org_id, model, started_at DESC, request_id DESC);
CREATE INDEX IF NOT EXISTS requests_not_ok ON requests (org_id, outcome, started_at DESC, request_id DESC) WHERE outcome <> 1;

-- The newest checkpoint that each witness has cosigned. Witnesses are the operator's, as the log is of all organisations.
CREATE TABLE log_cosignatures (
  witness text PRIMARY KEY,
  size bigint NOT NULL,
  checkpoint text NOT NULL,
  cosignature text NOT NULL,
  at timestamptz NOT NULL
);
