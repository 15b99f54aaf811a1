-- What the files of policies, tenants and models said when any replica last told audit of them. Nobody's organisation:
-- they are the installation's.
CREATE TABLE read_files (
  kind text PRIMARY KEY,
  -- JSON: name → a digest of what stands there.
  shown text NOT NULL,
  told_at timestamptz NOT NULL DEFAULT now()
);
