/**
 * The schema, as steps: step N brings a store of `user_version` N to N + 1. A step that has shipped never changes.
 * Times are milliseconds since 1970, UTC. Documents are JSON text.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE packages (
    id         TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    provider   TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('CREATED', 'PROCESSING', 'ONBOARDED', 'REFUSED')),
    appd       TEXT,
    appd_id    TEXT,
    content    BLOB,
    digest     TEXT,
    builder    TEXT,
    ports      TEXT,
    refusal    TEXT
  ) STRICT;
  -- An application is one package at a time; what was refused stands in nobody's way.
  CREATE UNIQUE INDEX packages_appd ON packages (appd_id) WHERE state IN ('PROCESSING', 'ONBOARDED');

  CREATE TABLE instances (
    id         TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    name       TEXT,
    package    TEXT NOT NULL REFERENCES packages (id),
    -- The device that was told to run it; null once the device has said that it is gone.
    device     TEXT,
    running    INTEGER NOT NULL DEFAULT 0,
    address    TEXT,
    refusal    TEXT
  ) STRICT;

  CREATE TABLE operations (
    id         TEXT PRIMARY KEY,
    instance   TEXT NOT NULL,
    operation  TEXT NOT NULL CHECK (operation IN ('INSTANTIATE', 'TERMINATE')),
    state      TEXT NOT NULL CHECK (state IN ('STARTING', 'PROCESSING', 'COMPLETED', 'FAILED')),
    started_at INTEGER NOT NULL,
    entered_at INTEGER NOT NULL,
    hosts      TEXT NOT NULL,
    grant_id   TEXT,
    error      TEXT
  ) STRICT;
  CREATE INDEX operations_running ON operations (instance) WHERE state IN ('STARTING', 'PROCESSING');

  CREATE TABLE grants (
    id       TEXT PRIMARY KEY,
    document TEXT NOT NULL
  ) STRICT;

  -- What a device was told, and what it answered. Until then it is told again.
  CREATE TABLE orders (
    id         TEXT PRIMARY KEY,
    operation  TEXT NOT NULL REFERENCES operations (id),
    attester   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    document   TEXT NOT NULL,
    report     TEXT,
    withdrawn  INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX orders_open ON orders (attester) WHERE report IS NULL AND withdrawn = 0;
  `,
];
