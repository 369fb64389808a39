//! Which orders leave their lists.

use super::*;
use std::cell::Cell;

#[test]
fn one_silent_instance_is_waited_for_and_nobody_is_looked_at_twice() {
    let dir = tempfile::tempdir().unwrap();
    let db = super::super::sqlite::open(&dir.path().join("a.db"));
    let db = Connection::from(db.unwrap());
    db.execute_batch(
        "INSERT INTO accounts (id, email, email_key, revision, changed_at, created_at)
             VALUES (1, 'a', 'a', 1, 1, 1);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO instances (id, account, label, created_at, identity_key)
             SELECT i, 1, 'box', 1, 'key' FROM n;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO orders (id, account, key, fingerprint, revision, asked_at, until)
             SELECT i, 1, i, 'SHA256:' || i, 1, 1, 1000 FROM n;
         INSERT INTO order_results SELECT id, 1, 'none', 0, 0, 1 FROM orders;
         INSERT INTO order_results SELECT id, 300, 'none', 0, 0, 1 FROM orders WHERE id < 3;",
    )
    .unwrap();
    let looks = Cell::new(0);
    let is_live = |instance| {
        looks.set(looks.get() + 1);
        instance == 300
    };
    let now = Timestamp::from_millisecond(10).unwrap();
    assert_eq!(leaving(&db, is_live, now).unwrap(), [(1, 1), (2, 1)]);
    assert_eq!(looks.get(), 300);
    assert_eq!(leaving(&db, |_| false, now).unwrap().len(), 100);
}
