//! Parse, plan and render of 10,000 keys, all in one and each by itself; and from a snapshot's
//! payload to a list. `cargo bench --bench plan`. To reach: `change_one_of_10_000` under 30 ms.

use divan::{Bencher, black_box};
use jiff::Timestamp;
use sshkeyd::keys::{AuthorizedKeys, KeyList};
use sshkeyd::sources::key_list;
use sshkeyd::sync::{Decision, Desired, Dialect, Owned, View, decide, plan, render};
use sshkeyd::wire::{Payload, SnapshotKey};

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

const KEYS: u64 = 10_000;

fn main() {
    divan::main();
}

fn list(numbers: impl Iterator<Item = u64>) -> KeyList {
    let mut list = KeyList::default();
    for number in numbers {
        list.push(Ok(support::listed(number)));
    }
    list
}

fn decided(list: &KeyList) -> Desired {
    let view = View {
        source: "account",
        list: Some(list),
    };
    match decide(&[view], Timestamp::UNIX_EPOCH, &Dialect::default()) {
        Decision::Apply(desired) => desired,
        Decision::Hold(_) => Desired::default(),
    }
}

fn turn(bytes: Vec<u8>, desired: &Desired) -> Option<Vec<u8>> {
    let current = AuthorizedKeys::parse(bytes);
    let plan = plan(&current, desired, &Owned::default(), false).ok()?;
    Some(render(&current, &plan).bytes)
}

/// A file that holds all keys, and what it ought to hold: one key less, one key more.
fn world() -> (Vec<u8>, Desired) {
    let file = turn(Vec::new(), &decided(&list(0..KEYS))).unwrap_or_default();
    (file, decided(&list(1..KEYS + 1)))
}

#[divan::bench(sample_count = 100)]
fn change_one_of_10_000(bencher: Bencher<'_, '_>) {
    let (file, desired) = world();
    bencher
        .with_inputs(|| file.clone())
        .bench_values(|bytes| turn(black_box(bytes), &desired));
}

#[divan::bench(sample_count = 100)]
fn change_none_of_10_000(bencher: Bencher<'_, '_>) {
    let (file, _) = world();
    let desired = decided(&list(0..KEYS));
    bencher
        .with_inputs(|| file.clone())
        .bench_values(|bytes| turn(black_box(bytes), &desired));
}

#[divan::bench(sample_count = 100)]
fn decide_what_10_000_come_to(bencher: Bencher<'_, '_>) {
    let list = list(0..KEYS);
    bencher.bench(|| decided(black_box(&list)));
}

#[divan::bench(sample_count = 100)]
fn parse_10_000(bencher: Bencher<'_, '_>) {
    let (file, _) = world();
    bencher
        .with_inputs(|| file.clone())
        .bench_values(|bytes| AuthorizedKeys::parse(black_box(bytes)));
}

#[divan::bench(sample_count = 100)]
fn plan_10_000(bencher: Bencher<'_, '_>) {
    let (file, desired) = world();
    let current = AuthorizedKeys::parse(file);
    bencher.bench(|| plan(black_box(&current), &desired, &Owned::default(), false));
}

#[divan::bench(sample_count = 100)]
fn render_10_000(bencher: Bencher<'_, '_>) {
    let (file, desired) = world();
    let current = AuthorizedKeys::parse(file);
    let plan = plan(&current, &desired, &Owned::default(), false);
    bencher.bench(|| {
        plan.as_ref()
            .map(|plan| render(black_box(&current), plan))
            .ok()
    });
}

#[divan::bench(sample_count = 100)]
fn read_a_payload_of_10_000(bencher: Bencher<'_, '_>) {
    let key = |number| SnapshotKey {
        id: i64::try_from(number).unwrap_or_default(),
        name: format!("person-{number}@host"),
        public_key: support::key(number).to_string(),
        options: String::new(),
        expires_at: None,
        saved_at: Timestamp::UNIX_EPOCH,
    };
    let payload = Payload {
        v: 1,
        account: 1,
        instance: None,
        except: Vec::new(),
        revision: 1,
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::MAX,
        keys: (0..KEYS).map(key).collect(),
        revoked: Vec::new(),
        end_sessions: Vec::new(),
        user_ca: Vec::new(),
        krl: None,
        principals: std::collections::BTreeMap::new(),
        signers: vec![support::key(KEYS).to_string()],
        removed: None,
    };
    let json = serde_json::to_vec(&payload).unwrap_or_default();
    bencher.bench(|| {
        let payload: Option<Payload> = serde_json::from_slice(black_box(&json)).ok();
        payload.map(|payload| key_list(&payload.keys, &payload.revoked))
    });
}
