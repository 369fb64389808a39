-- The account: sessions of people beside those of agents, API keys with rights, keys of single
-- instances, the second factor, the audit log.

CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('browser', 'cli', 'agent')),
    hash       BLOB    NOT NULL UNIQUE,
    instance   INTEGER REFERENCES instances (id) ON DELETE CASCADE, -- an agent's
    used       INTEGER NOT NULL DEFAULT 0,   -- an agent's first use ends the ones before it
    name       TEXT    NOT NULL DEFAULT '',  -- the device, in its own words, cut
    os         TEXT    NOT NULL DEFAULT '',
    address    TEXT    NOT NULL DEFAULT '',  -- where it was last seen from
    created_at INTEGER NOT NULL,
    last_seen  INTEGER,
    expires_at INTEGER                       -- NULL: an agent's
) STRICT;

INSERT INTO sessions (id, account, kind, hash, instance, used, name, created_at)
SELECT s.id, i.account, 'agent', s.hash, s.instance, s.used, i.hostname, i.created_at
FROM agent_sessions s JOIN instances i ON i.id = s.instance;

DROP TABLE agent_sessions;

CREATE INDEX sessions_of_account ON sessions (account, id);
CREATE INDEX sessions_of_instance ON sessions (instance, id);

ALTER TABLE instances ADD COLUMN cut_off INTEGER NOT NULL DEFAULT 0; -- a person deleted its session: no renewal

ALTER TABLE api_keys ADD COLUMN name         TEXT NOT NULL DEFAULT 'first';
ALTER TABLE api_keys ADD COLUMN rights       TEXT NOT NULL DEFAULT '{"api":{}}'; -- JSON: a permission tree
ALTER TABLE api_keys ADD COLUMN addresses    TEXT NOT NULL DEFAULT '[]';         -- JSON: networks; none: any
ALTER TABLE api_keys ADD COLUMN tail         TEXT NOT NULL DEFAULT '';           -- its last four characters
ALTER TABLE api_keys ADD COLUMN sealed       BLOB;                               -- the key, for its owner to see again
ALTER TABLE api_keys ADD COLUMN expires_at   INTEGER;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
ALTER TABLE api_keys ADD COLUMN last_used_from TEXT NOT NULL DEFAULT '';

CREATE INDEX api_keys_of_account ON api_keys (account, id);

ALTER TABLE ssh_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'all' CHECK (scope IN ('all', 'some'));
ALTER TABLE ssh_keys ADD COLUMN saved_at INTEGER NOT NULL DEFAULT 0;  -- when its present text was saved

UPDATE ssh_keys SET saved_at = created_at;

ALTER TABLE instances ADD COLUMN clone_seen_at INTEGER;               -- when a twin was last refused
ALTER TABLE instances ADD COLUMN clone_from TEXT NOT NULL DEFAULT ''; -- and from which address
ALTER TABLE instances ADD COLUMN clone_listed_at INTEGER;             -- when the audit log last had it

CREATE TABLE attachments (
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    key      INTEGER NOT NULL REFERENCES ssh_keys (id) ON DELETE CASCADE,
    attached INTEGER NOT NULL,               -- 1: there whatever the scope; 0: not there whatever it is
    PRIMARY KEY (instance, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX attachments_of_key ON attachments (key);

ALTER TABLE accounts ADD COLUMN disabled_at    INTEGER;
ALTER TABLE accounts ADD COLUMN totp_secret    BLOB;    -- sealed
ALTER TABLE accounts ADD COLUMN totp_since     INTEGER; -- NULL: begun, not confirmed
ALTER TABLE accounts ADD COLUMN totp_last_step INTEGER; -- a code is good once

CREATE TABLE backup_codes (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash    BLOB    NOT NULL,
    used_at INTEGER,
    PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;

-- Wrong guesses at addresses that have no account: written with those at accounts, so that what
-- the database does tells neither from the other.
CREATE TABLE strangers (
    guesses INTEGER NOT NULL
) STRICT;

INSERT INTO strangers (guesses) VALUES (0);

-- Answers to creates, for a request that comes again because its answer was lost.
CREATE TABLE idempotent_creates (
    account    INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,             -- route, caller and Idempotency-Key
    request    BLOB    NOT NULL,             -- digest of the body
    answer     BLOB    NOT NULL,             -- sealed
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

-- Append-only. An account's rows outlive it, so there is no reference.
CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    account  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    action   TEXT    NOT NULL,               -- ssh-key.add, session.delete, …
    outcome  TEXT    NOT NULL CHECK (outcome IN ('done', 'refused')),
    by_kind  TEXT    NOT NULL,               -- session, api-key, agent, server
    by_id    INTEGER,
    by_name  TEXT    NOT NULL,
    address  TEXT    NOT NULL,
    about    INTEGER,                        -- the id of what was acted on
    detail   TEXT    NOT NULL,               -- JSON, no secrets
    request  TEXT    NOT NULL                -- the request's id, as in the log
) STRICT;

CREATE INDEX audit_of_account ON audit (account, id);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;

-- REPLACE deletes without asking the trigger below.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = new.id)
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
