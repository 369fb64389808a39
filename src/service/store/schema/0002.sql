-- Keys that their account revoked: they are never taken again.

CREATE TABLE revoked_keys (
    account     INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    fingerprint TEXT    NOT NULL,
    public_key  TEXT    NOT NULL,         -- canonical: type, one blank, base64
    revoked_at  INTEGER NOT NULL,
    PRIMARY KEY (account, fingerprint)
) STRICT, WITHOUT ROWID;
