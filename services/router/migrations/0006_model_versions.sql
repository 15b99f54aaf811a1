-- Every state that a model of the API was ever in; they outlive it, and one made anew under its id counts on. What is in
-- force stands in mesh.models.
CREATE TABLE model_versions (
  model text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  -- create, update, rollback or delete.
  action text NOT NULL CHECK (action IN ('create', 'update', 'rollback', 'delete')),
  -- Empty where it was deleted.
  document text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (model, version)
);
