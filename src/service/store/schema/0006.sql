-- Certificates: an account's CAs, what they signed, and what was revoked.

CREATE TABLE cas (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    role       TEXT    NOT NULL CHECK (role IN ('user', 'host')),
    public_key TEXT    NOT NULL UNIQUE,  -- canonical: type, one blank, base64
    sealed     BLOB    NOT NULL,         -- the private key
    state      TEXT    NOT NULL CHECK (state IN ('next', 'signing', 'leaving')),
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX cas_of_account ON cas (account, role);
CREATE UNIQUE INDEX cas_that_sign ON cas (account, role) WHERE state = 'signing';
CREATE UNIQUE INDEX cas_that_come ON cas (account, role) WHERE state = 'next';

CREATE TABLE certificates (
    serial       INTEGER PRIMARY KEY AUTOINCREMENT, -- over all accounts: never given out twice
    account      INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    ca           INTEGER NOT NULL REFERENCES cas (id) ON DELETE CASCADE,
    key_id       TEXT    NOT NULL,
    fingerprint  TEXT    NOT NULL,       -- of the key that it is over
    ssh_key      INTEGER,                -- the account's key, where it is one
    session      INTEGER,                -- by which it was asked for
    api_key      INTEGER,
    instance     INTEGER,                -- a host's
    valid_after  INTEGER NOT NULL,
    valid_before INTEGER NOT NULL,
    revoked_at   INTEGER
) STRICT;

CREATE INDEX certificates_of_people ON certificates (account, valid_before) WHERE instance IS NULL;
CREATE INDEX certificates_of_instance ON certificates (instance) WHERE instance IS NOT NULL;
CREATE INDEX certificates_of_ca ON certificates (ca, valid_before);
CREATE INDEX certificates_by_end ON certificates (valid_before);
CREATE INDEX certificates_revoked ON certificates (ca, serial) WHERE revoked_at IS NOT NULL;

-- Key IDs that no certificate may have until then: also one that was signed and is not listed here.
CREATE TABLE revoked_key_ids (
    account    INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    key_id     TEXT    NOT NULL,
    revoked_at INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    PRIMARY KEY (account, key_id)
) STRICT, WITHOUT ROWID;

-- The revision at which the account's revocation list last changed: its version.
ALTER TABLE accounts ADD COLUMN krl_version INTEGER NOT NULL DEFAULT 0;

-- After a restore: of which serial on down every user certificate is revoked, and until when that is
-- of use. Nobody knows which were revoked after the copy was made.
ALTER TABLE accounts ADD COLUMN serials_below INTEGER;
ALTER TABLE accounts ADD COLUMN serials_until INTEGER;

-- Orders also end the sessions of single certificates.
ALTER TABLE orders ADD COLUMN serial INTEGER;
ALTER TABLE orders ADD COLUMN key_id TEXT;

-- A list with revoked keys has a revocation list from here on: another content, another revision.
UPDATE accounts SET revision = revision + 1, krl_version = revision + 1
WHERE EXISTS (SELECT 1 FROM revoked_keys r WHERE r.account = accounts.id);

-- Host keys of instances, and the owner's word on each.
CREATE TABLE host_keys (
    instance     INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    fingerprint  TEXT    NOT NULL,
    key_type     TEXT    NOT NULL,
    public_key   TEXT    NOT NULL,        -- canonical: type, one blank, base64
    state        TEXT    NOT NULL CHECK (state IN ('approved', 'waiting', 'refused')),
    since        INTEGER NOT NULL,
    serial       INTEGER,                 -- of the certificate that it was last given
    certificate  TEXT,
    names        TEXT,                    -- JSON: its principals
    ca           INTEGER,
    valid_after  INTEGER,
    valid_before INTEGER,
    PRIMARY KEY (instance, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX host_keys_in_use ON host_keys (instance, key_type) WHERE state = 'approved';
CREATE UNIQUE INDEX host_keys_that_wait ON host_keys (instance, key_type) WHERE state = 'waiting';
CREATE INDEX host_keys_by_fingerprint ON host_keys (fingerprint);

-- Host keys that nobody is to believe any more, until their certificates would have ended; they stay
-- when their instance is gone.
CREATE TABLE revoked_host_keys (
    account     INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    instance    INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL,
    public_key  TEXT    NOT NULL,
    names       TEXT    NOT NULL,         -- JSON
    until       INTEGER NOT NULL,
    PRIMARY KEY (instance, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE INDEX revoked_host_keys_of_account ON revoked_host_keys (account, until);

-- Until an hour after it host keys are taken as they come. NULL: enrolled before this was kept.
ALTER TABLE instances ADD COLUMN enrolled_at INTEGER;
