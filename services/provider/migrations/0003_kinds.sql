-- Kinds may come from plug-ins: DAC itself says which there are, the table only that one has the form of a name.
ALTER TABLE providers DROP CONSTRAINT providers_kind_check;
ALTER TABLE providers ADD CONSTRAINT providers_kind_check CHECK (kind ~ '^[a-z0-9][a-z0-9-]{0,62}$');
