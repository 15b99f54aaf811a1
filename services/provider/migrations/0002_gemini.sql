-- Google's own dialect is a kind of provider.
ALTER TABLE providers DROP CONSTRAINT providers_kind_check;
ALTER TABLE providers ADD CONSTRAINT providers_kind_check CHECK (kind IN ('openai', 'anthropic', 'gemini'));
