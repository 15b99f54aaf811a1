-- Providers added through the API. They belong to the installation, not to an organisation.
CREATE TABLE providers (
  provider text PRIMARY KEY CHECK (provider ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  kind text NOT NULL CHECK (kind IN ('openai', 'anthropic')),
  base_url text NOT NULL,
  -- AES-256-GCM by a data key of the row; empty = the provider needs no key.
  sealed_key bytea NOT NULL,
  -- The data key, sealed by the subkey "provider-keys" of the master key named in master_key_id.
  sealed_data_key bytea NOT NULL,
  master_key_id text NOT NULL,
  key_hint text NOT NULL,
  upstream_models text[] NOT NULL DEFAULT '{}',
  changed_at timestamptz NOT NULL
);

-- Counts changes, so that a replica sees in one small read whether it is behind.
CREATE TABLE providers_version (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  version bigint NOT NULL
);
INSERT INTO providers_version (version) VALUES (1);

-- Changes on their way to audit, written in the transaction of the change. The organisation is in the record.
CREATE TABLE change_outbox (
  record_id uuid PRIMARY KEY,
  record bytea NOT NULL
);
