-- Live sessions: orders to end those of a key, what became of them, and what instances say of
-- keys and of themselves.

CREATE TABLE orders (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    key         INTEGER NOT NULL,         -- the id that the deleted key had
    fingerprint TEXT    NOT NULL,
    revision    INTEGER NOT NULL,         -- the account's, of the deletion
    asked_at    INTEGER NOT NULL,
    until       INTEGER NOT NULL,         -- the row goes with it
    left_at     INTEGER                   -- NULL while it stands in the account's list
) STRICT;

CREATE INDEX orders_of_account ON orders (account, key);

CREATE TABLE order_results (
    order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    outcome  TEXT    NOT NULL,
    ended    INTEGER NOT NULL,
    still    INTEGER NOT NULL,            -- told to end, and still there
    at       INTEGER NOT NULL,
    PRIMARY KEY (order_id, instance)
) STRICT, WITHOUT ROWID;

CREATE INDEX order_results_of_instance ON order_results (instance);

ALTER TABLE ssh_keys ADD COLUMN last_used_at INTEGER;
ALTER TABLE instances ADD COLUMN device TEXT;                 -- JSON: the tenant's words, cut
ALTER TABLE instances ADD COLUMN removal_sessions INTEGER NOT NULL DEFAULT 0;
