/**
 * The schema, as steps: step N brings a store of `user_version` N to N + 1. A step that has shipped never changes.
 * Times are milliseconds since 1970, UTC. Secrets stand here as SHA-256 only,
 * but for a webhook's.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
  ) STRICT;

  -- A proven claim: this TPM (EK, AK) asks to be this attester. Claims are never deleted: they are the history.
  CREATE TABLE claims (
    claim          INTEGER PRIMARY KEY,
    attester       TEXT NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN ('builder', 'device')),
    ek             TEXT NOT NULL,
    ek_public      BLOB NOT NULL,
    ek_certificate BLOB NOT NULL,
    ek_root        TEXT NOT NULL,
    ak             TEXT NOT NULL,
    ak_public      BLOB NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('admitted', 'pending', 'held', 'refused', 'superseded')),
    reason         TEXT,
    created_at     INTEGER NOT NULL
  ) STRICT;
  -- One TPM is one attester, whatever code runs above: a second claim can't become admitted beside the first.
  CREATE UNIQUE INDEX one_tpm_per_attester ON claims (attester) WHERE state = 'admitted';
  CREATE UNIQUE INDEX one_attester_per_tpm ON claims (ek) WHERE state = 'admitted';
  CREATE INDEX claims_by_attester ON claims (attester);
  CREATE INDEX claims_by_ek ON claims (ek);

  CREATE TABLE admissions (
    claim  INTEGER NOT NULL REFERENCES claims (claim),
    at     INTEGER NOT NULL,
    state  TEXT NOT NULL,
    by     TEXT NOT NULL,
    reason TEXT
  ) STRICT;
  CREATE INDEX admissions_by_claim ON admissions (claim);
  CREATE TRIGGER admissions_stay BEFORE UPDATE ON admissions BEGIN SELECT RAISE (ABORT, 'append-only'); END;
  CREATE TRIGGER admissions_kept BEFORE DELETE ON admissions BEGIN SELECT RAISE (ABORT, 'append-only'); END;

  -- The answer is SHA-256 of the MAC that the right TPM sends; the secret itself is not kept.
  CREATE TABLE challenges (
    challenge      TEXT PRIMARY KEY,
    source         TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('outstanding', 'burned', 'proven')),
    answer         BLOB NOT NULL,
    attester       TEXT NOT NULL,
    kind           TEXT NOT NULL,
    ek             TEXT NOT NULL,
    ek_public      BLOB NOT NULL,
    ek_certificate BLOB NOT NULL,
    ek_root        TEXT NOT NULL,
    ak             TEXT NOT NULL,
    ak_public      BLOB NOT NULL,
    join_token     BLOB,
    expires_at     INTEGER NOT NULL,
    claim          INTEGER REFERENCES claims (claim)
  ) STRICT;
  CREATE INDEX challenges_outstanding ON challenges (source, expires_at) WHERE state = 'outstanding';

  CREATE TABLE join_tokens (
    hash       BLOB PRIMARY KEY,
    uses_left  INTEGER NOT NULL CHECK (uses_left >= 0),
    kind       TEXT,
    attester   TEXT,
    expires_at INTEGER NOT NULL,
    made_by    TEXT NOT NULL
  ) STRICT;

  CREATE TABLE tokens (
    hash       BLOB PRIMARY KEY,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    made_by    TEXT NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX one_token_per_name ON tokens (name) WHERE revoked_at IS NULL;

  -- Client certificates that may still be in use; each dies with the claim it was issued for.
  CREATE TABLE certificates (
    fingerprint TEXT PRIMARY KEY,
    claim       INTEGER NOT NULL REFERENCES claims (claim),
    not_after   INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE spent_nonces (
    nonce      BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE evidence (
    digest   TEXT PRIMARY KEY,
    attester TEXT NOT NULL,
    at       INTEGER NOT NULL,
    bytes    BLOB NOT NULL
  ) STRICT;

  CREATE TABLE results (
    digest   TEXT PRIMARY KEY,
    claim    INTEGER NOT NULL REFERENCES claims (claim),
    attester TEXT NOT NULL,
    at       INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    ear      TEXT NOT NULL,
    record   TEXT NOT NULL
  ) STRICT;
  CREATE INDEX results_by_claim ON results (claim, at);

  -- What was judged of an attester's logs in its present boot, and its last result.
  CREATE TABLE continuity (
    claim   INTEGER PRIMARY KEY REFERENCES claims (claim),
    version INTEGER NOT NULL,
    value   TEXT NOT NULL,
    result  TEXT NOT NULL REFERENCES results (digest)
  ) STRICT;

  CREATE TABLE sessions (
    session     TEXT PRIMARY KEY,
    attester    TEXT NOT NULL,
    claim       INTEGER NOT NULL REFERENCES claims (claim),
    state       TEXT NOT NULL CHECK (state IN ('opening', 'open', 'closed', 'failed', 'expired')),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    closed_at   INTEGER,
    opening     TEXT,
    subject     TEXT,
    statement   TEXT,
    signing_key TEXT,
    reason      TEXT,
    ear         TEXT,
    head        TEXT NOT NULL
  ) STRICT;
  CREATE INDEX sessions_by_attester ON sessions (attester, state);
  CREATE INDEX sessions_by_time ON sessions (created_at);
  CREATE TRIGGER sessions_end BEFORE UPDATE ON sessions WHEN OLD.state IN ('closed', 'failed', 'expired')
    BEGIN SELECT RAISE (ABORT, 'a session that has ended never changes'); END;
  CREATE TRIGGER sessions_kept BEFORE DELETE ON sessions BEGIN SELECT RAISE (ABORT, 'append-only'); END;

  CREATE TABLE session_events (
    session TEXT NOT NULL REFERENCES sessions (session),
    seq     INTEGER NOT NULL,
    event   TEXT NOT NULL,
    head    TEXT NOT NULL,
    PRIMARY KEY (session, seq)
  ) STRICT;
  CREATE TRIGGER session_events_stay BEFORE UPDATE ON session_events
    BEGIN SELECT RAISE (ABORT, 'append-only'); END;
  CREATE TRIGGER session_events_kept BEFORE DELETE ON session_events
    BEGIN SELECT RAISE (ABORT, 'append-only'); END;

  CREATE TABLE session_evidence (
    session TEXT NOT NULL REFERENCES sessions (session),
    seq     INTEGER NOT NULL,
    digest  TEXT NOT NULL REFERENCES evidence (digest),
    PRIMARY KEY (session, seq)
  ) STRICT;
  CREATE INDEX session_evidence_by_digest ON session_evidence (digest);

  -- File manifests that a signed and logged statement of a closed session names for an image.
  CREATE TABLE image_references (
    image         TEXT NOT NULL,
    file_manifest TEXT NOT NULL,
    session       TEXT NOT NULL REFERENCES sessions (session),
    log_index     INTEGER NOT NULL,
    PRIMARY KEY (image, file_manifest)
  ) STRICT;

  CREATE TABLE file_manifests (
    digest TEXT PRIMARY KEY,
    bytes  BLOB NOT NULL
  ) STRICT;
  `,
  `
  -- Every change of state, in order.
  CREATE TABLE events (
    event INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    type  TEXT NOT NULL,
    data  TEXT NOT NULL
  ) STRICT;
  CREATE INDEX events_by_time ON events (at);
  CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE (ABORT, 'append-only'); END;

  -- What was last told of each attester and its instances, and when time alone will change it.
  CREATE TABLE standings (
    claim     INTEGER PRIMARY KEY REFERENCES claims (claim),
    platform  TEXT NOT NULL,
    instances TEXT NOT NULL,
    due_at    INTEGER
  ) STRICT;
  CREATE INDEX standings_due ON standings (due_at) WHERE due_at IS NOT NULL;

  -- The secret is a key that the server signs with, so it is kept as it is.
  CREATE TABLE webhooks (
    webhook    TEXT PRIMARY KEY,
    url        TEXT NOT NULL,
    types      TEXT NOT NULL,
    secret     BLOB NOT NULL,
    ca         TEXT,
    made_by    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER
  ) STRICT;

  -- An event that a webhook is still to be told, or that was given up.
  CREATE TABLE deliveries (
    webhook  TEXT NOT NULL REFERENCES webhooks (webhook) ON DELETE CASCADE,
    event    INTEGER NOT NULL REFERENCES events (event),
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'dead')),
    attempts INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    trouble  TEXT,
    PRIMARY KEY (webhook, event)
  ) STRICT;
  CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'waiting';
  CREATE INDEX deliveries_by_event ON deliveries (event);
  `,
  `
  -- Event logs and inventories that continuities rest on, by the SHA-256 of their JCS: most of their bytes, and hardly
  -- ever another one. No foreign keys: to delete one would mean to look through all continuities.
  CREATE TABLE continuity_parts (
    digest TEXT PRIMARY KEY,
    value  TEXT NOT NULL
  ) STRICT;
  ALTER TABLE continuity ADD COLUMN event_log TEXT;
  ALTER TABLE continuity ADD COLUMN inventory TEXT;
  `,
  `CREATE INDEX challenges_by_claim ON challenges (claim) WHERE claim IS NOT NULL;`,
  `
  -- What results rest on beside their evidence, each under the digest of its canonical form: the policies they were judged
  -- by, and what was kept of the attester before. The parts of the latter, which seldom change, are kept once.
  CREATE TABLE used_policies (
    digest TEXT PRIMARY KEY,
    bytes  BLOB NOT NULL
  ) STRICT;
  CREATE TABLE kept_states (
    digest TEXT PRIMARY KEY,
    at     INTEGER NOT NULL,
    root   TEXT NOT NULL
  ) STRICT;
  CREATE INDEX kept_states_by_time ON kept_states (at);
  CREATE TABLE kept_parts (
    digest TEXT PRIMARY KEY,
    at     INTEGER NOT NULL,
    bytes  BLOB NOT NULL
  ) STRICT;
  CREATE INDEX kept_parts_by_time ON kept_parts (at);
  -- Firmware event logs, by their digest: an evidence message shows one only the first time in a boot.
  CREATE TABLE event_logs (
    digest TEXT PRIMARY KEY,
    at     INTEGER NOT NULL,
    bytes  BLOB NOT NULL
  ) STRICT;
  CREATE INDEX results_by_evidence ON results (evidence);
  ALTER TABLE results ADD COLUMN previous TEXT;
  CREATE INDEX results_by_previous ON results (previous) WHERE previous IS NOT NULL;
  `,
  `
  -- Results that said nothing new, until they are thinned out. And no foreign key of continuity's to results any more: to
  -- delete a result would mean to look through all continuities.
  ALTER TABLE results ADD COLUMN steady INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX results_steady ON results (at) WHERE steady = 1;
  CREATE TABLE continuity_new (
    claim     INTEGER PRIMARY KEY REFERENCES claims (claim),
    version   INTEGER NOT NULL,
    value     TEXT NOT NULL,
    result    TEXT NOT NULL,
    event_log TEXT,
    inventory TEXT
  ) STRICT;
  INSERT INTO continuity_new SELECT claim, version, value, result, event_log, inventory FROM continuity;
  DROP TABLE continuity;
  ALTER TABLE continuity_new RENAME TO continuity;
  `,
  `
  -- A result and what it rests on is one row, written where the last one ended: evidence shown outside sessions, and the
  -- root of what was kept before it. Digests are random, so that each index over them costs a page a row: there is one, over
  -- as much of a digest as tells results apart.
  CREATE TABLE results_new (
    place    INTEGER PRIMARY KEY,
    digest   TEXT NOT NULL,
    claim    INTEGER NOT NULL REFERENCES claims (claim),
    at       INTEGER NOT NULL,
    steady   INTEGER NOT NULL,
    ear      TEXT NOT NULL,
    record   TEXT NOT NULL,
    evidence BLOB,
    previous TEXT
  ) STRICT;
  INSERT INTO results_new (place, digest, claim, at, steady, ear, record, evidence, previous)
    SELECT r.rowid, r.digest, r.claim, r.at, r.steady, r.ear, r.record,
        iif(r.evidence IN (SELECT digest FROM session_evidence), NULL, e.bytes), k.root
      FROM results AS r LEFT JOIN evidence AS e ON e.digest = r.evidence LEFT JOIN kept_states AS k ON k.digest = r.previous;
  DROP TABLE results;
  ALTER TABLE results_new RENAME TO results;
  CREATE INDEX results_by_digest ON results (substr(digest, 8, 12));
  CREATE INDEX results_by_claim ON results (claim, at);
  CREATE INDEX results_by_time ON results (at);
  CREATE INDEX results_steady ON results (at) WHERE steady = 1;
  DELETE FROM evidence WHERE digest NOT IN (SELECT digest FROM session_evidence);
  DROP TABLE kept_states;
  -- A nonce begins with its time: in a table ordered by it, those of one time are neighbours.
  CREATE TABLE spent_nonces_new (
    nonce      BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  INSERT INTO spent_nonces_new (nonce, expires_at) SELECT nonce, expires_at FROM spent_nonces;
  DROP TABLE spent_nonces;
  ALTER TABLE spent_nonces_new RENAME TO spent_nonces;
  `,
  `
  -- The appraisal policy (id and digest, JSON) that a session's evidence is judged by; and where in the log the signature is
  -- that came of it.
  ALTER TABLE sessions ADD COLUMN policy TEXT;
  CREATE TABLE session_signatures (
    session   TEXT PRIMARY KEY REFERENCES sessions (session),
    log_index INTEGER NOT NULL
  ) STRICT;
  INSERT INTO session_signatures (session, log_index)
    SELECT session, min(log_index) FROM image_references GROUP BY session;
  `,
];
