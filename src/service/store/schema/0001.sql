-- Times are Unix milliseconds. Hashes are SHA-256, 32 bytes. Ids are never given out twice.

CREATE TABLE accounts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    email      TEXT    NOT NULL,
    email_key  TEXT    NOT NULL UNIQUE,   -- in lower case: addresses differ by more than case
    password   TEXT,                      -- PHC string (argon2id); NULL: no login by password
    revision   INTEGER NOT NULL,          -- only ever grows
    changed_at INTEGER NOT NULL,          -- when the revision was given out
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       BLOB    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE ssh_keys (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    public_key  TEXT    NOT NULL,         -- canonical: type, one blank, base64
    fingerprint TEXT    NOT NULL,
    options     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revision    INTEGER NOT NULL,         -- the account's, of the key's last change
    UNIQUE (account, public_key)
) STRICT;

CREATE TABLE instances (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    account         INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    label           TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    hostname        TEXT    NOT NULL DEFAULT '',
    identity_key    TEXT,                 -- canonical public key; NULL until it enrols
    run             BLOB,                 -- hash of the run id that speaks for it now
    last_seen       INTEGER,
    stopped         INTEGER NOT NULL DEFAULT 0,
    status          TEXT,                 -- JSON: the tenant's words, cut
    proved          TEXT NOT NULL DEFAULT '{}', -- JSON: key id to milliseconds from save to proof
    removal_keys    INTEGER,              -- 0 or 1: it is being removed, and whether its keys go
    removal_told_at INTEGER               -- when it first got the snapshot that says so
) STRICT;

CREATE INDEX instances_of_account ON instances (account, id);

CREATE TABLE superseded_runs (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    run      BLOB    NOT NULL,
    UNIQUE (instance, run)
) STRICT;

CREATE TABLE enrolments (
    hash       BLOB    PRIMARY KEY,
    instance   INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    used_by    TEXT                       -- the identity key that used it
) STRICT, WITHOUT ROWID;

CREATE INDEX enrolments_of_instance ON enrolments (instance);

CREATE TABLE agent_sessions (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    hash     BLOB    NOT NULL UNIQUE,
    used     INTEGER NOT NULL DEFAULT 0   -- its first use ends the ones before it
) STRICT;

CREATE INDEX agent_sessions_of_instance ON agent_sessions (instance, id);

CREATE TABLE used_nonces (
    instance   INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    nonce      BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (instance, nonce)
) STRICT, WITHOUT ROWID;
