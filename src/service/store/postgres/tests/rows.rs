//! What stands in the tables: the same as in SQLite's, in an order that holds, and lifted where it was
//! brought back.

use super::*;

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_row_of_the_log_that_can_be_read_has_none_before_it_to_come() {
    let (database, _dir) = server();
    let (store, _) = replica(&database);
    let account = account(&store, "a@example.com").await;
    let note = |n: u32| {
        let actor = Actor {
            by: By::Nobody,
            request: n.to_string(),
            ..Actor::server(account)
        };
        let (store, act) = (store.clone(), Act::refused("x", serde_json::json!({})));
        tokio::spawn(async move { store.note(actor, act, at(1)).await.unwrap() })
    };
    let tasks: Vec<_> = (0..200).map(note).collect();
    let (mut seen, mut highest) = (0, 0);
    while seen < 200 {
        let rows = store.audit(account, i64::MAX, 500).await.unwrap();
        let rows: Vec<i64> = rows
            .iter()
            .filter(|r| r.action == "x")
            .map(|r| r.id)
            .collect();
        let fresh = rows.iter().filter(|id| **id > highest).count();
        assert_eq!(
            rows.len(),
            seen + fresh,
            "a row came behind one that was read"
        );
        seen = rows.len();
        highest = rows.first().copied().unwrap_or(0);
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn both_engines_have_the_same_tables_and_columns() {
    let (database, dir) = server();
    drop(replica(&database));
    let theirs = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT),
                    CAST(is_nullable AS TEXT) = 'YES', coalesce(CAST(column_default AS TEXT), '')
                  FROM information_schema.columns WHERE table_schema = 'public'";
    let ours = "SELECT t.name, c.name, c.\"notnull\" = 0 AND c.pk = 0, coalesce(c.dflt_value, '')
                FROM sqlite_schema t, pragma_table_info(t.name) c
                WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let read = |db: &mut Connection, sql: &str| {
        db.prepare(sql)?
            .query_map([], |row| {
                let default: String = row.get(3)?;
                let (default, _) = default.split_once("::").unwrap_or((&default, ""));
                let column: (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((column, default.to_owned()))
            })?
            .collect::<db::Result<BTreeSet<_>>>()
    };
    let mut theirs = apart(&database, |db| read(db, theirs)).unwrap();
    // This engine's own.
    theirs.retain(|((table, ..), _)| {
        !["changes", "guesses", "schema_version"].contains(&table.as_str())
    });
    let file = super::super::super::sqlite::open(&dir.path().join("b.db")).unwrap();
    let ours = read(&mut file.into(), ours).unwrap();
    assert!(ours.len() > 100);
    let only = |one: &BTreeSet<_>, other| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(only(&ours, &theirs), [], "SQLite's only");
    assert_eq!(only(&theirs, &ours), [], "PostgreSQL's only");
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn what_was_brought_back_is_lifted_and_gives_no_number_twice() {
    let (database, _dir) = server();
    let (store, heard) = replica(&database);
    let account = account(&store, "a@example.com").await;
    let first = save(&store, account, 1).await.unwrap();
    let ca = NewCa {
        public_key: Signer::from_seed(&[1; 32]).public().to_string(),
        sealed: vec![1],
    };
    let cas = store.cas(account, Role::User, ca, at(2_000));
    let ca = cas.await.unwrap().remove(0).id;
    let certified = async |now| {
        let row = CertificateRow {
            ca,
            key_id: "1/0/1".to_owned(),
            fingerprint: "SHA256:fresh".to_owned(),
            ssh_key: None,
            session: None,
            api_key: None,
            instance: None,
            valid_after: at(now),
            valid_before: at(now + 3_600_000),
        };
        let issued = store.add_certificate(Actor::server(account), row, at(now));
        match issued.await.unwrap() {
            Issued::Serial(serial) => serial,
            other => panic!("{other:?}"),
        }
    };
    let serial = certified(3_000).await;
    let mut sweep = Sweep::default();
    store.others(&mut sweep, Vec::new).await.unwrap();
    let lifted = super::super::super::copies::lift(&database, at(9_000_000)).unwrap();
    assert_eq!((lifted.accounts, lifted.sessions), (1, 0));
    let head = store.head(account).await.unwrap().unwrap();
    assert_eq!(head.revision, 9_000_001);
    let found = store.others(&mut sweep, Vec::new).await.unwrap();
    assert_eq!(
        found[0].revision,
        Some(9_000_001),
        "replicas that run hear of it"
    );
    let next = save(&store, account, 2).await.unwrap();
    assert!(next.id > first.id + 1_000_000);
    let later = certified(9_000_010).await;
    assert!(later > serial + 1_000_000);
    // All that may have been signed since the copy is refused, and what is signed now is not.
    let (_, krl) = store.keys_and_krl(account, None).await.unwrap();
    let krl = krl.unwrap();
    let revoked = &krl.certificates.values().next().unwrap().serials;
    assert!(revoked.contains(serial) && revoked.contains(serial + 1_000_000));
    assert!(!revoked.contains(later));
    assert!(next.revision > 9_000_001);
    drop(heard);
}
