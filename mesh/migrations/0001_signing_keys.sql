-- Public halves of the keys that services sign principals with. Everybody reads; a service publishes only its own.
CREATE TABLE signing_keys (
    signing_key_id text PRIMARY KEY,
    issuer text NOT NULL,
    public_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE signing_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE signing_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY signing_keys_read ON signing_keys FOR SELECT USING (true);
CREATE POLICY signing_keys_publish ON signing_keys FOR INSERT
    WITH CHECK (issuer = regexp_replace(current_user, '^dac_', ''));
