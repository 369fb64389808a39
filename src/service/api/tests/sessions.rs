//! Live sessions: orders to end them, what instances say of them and of themselves (protocol.md
//! sections 3 and 5).

use super::agents::opened;
use super::*;
use crate::wire::{
    HeartbeatAnswer, Instance, InstanceState, OrderOutcome, Page, Rollout, RolloutState,
};

async fn delete(bed: &Bed, id: i64) {
    let call = format!("DELETE /v1/ssh-keys/{id}?end_sessions=true");
    assert_eq!(bed.own(&call, None).await.status, 204);
}

async fn rollout(bed: &Bed, id: i64) -> Rollout {
    let call = format!("GET /v1/ssh-keys/{id}/rollout");
    bed.own(&call, None).await.of(200)
}

async fn shown(bed: &Bed, instance: i64) -> Instance {
    let call = format!("GET /v1/instances/{instance}");
    bed.own(&call, None).await.of(200)
}

async fn answer(agent: &TestAgent, bed: &Bed, id: i64, outcome: &str, ended: u32) {
    let orders = json!([{"id": id, "outcome": outcome, "ended": ended}]);
    let reply = agent.heartbeat(bed, json!({ "orders": orders })).await;
    reply.of::<HeartbeatAnswer>(200);
}

fn session(fingerprint: &str, since: &str) -> Value {
    json!({"id": "812-1", "user": "root", "from": "203.0.113.9:50022", "since": since,
        "fingerprint": fingerprint, "certificate": null, "pid": 812})
}

#[tokio::test]
async fn a_deletion_with_its_sessions_is_one_revision_with_one_order() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let key = bed.save(ED).await;
    let other = Signer::from_seed(&rand::random()).public().to_string();
    let plain = bed.save(&other).await;
    let before = opened(&agent.snapshot(&bed, 0, None).await);
    assert_eq!(before.end_sessions, []);

    bed.pass(3);
    let asked_at = *bed.clock.lock().unwrap();
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let (woken, ()) = tokio::join!(agent.snapshot(&bed, 300, Some(&etag)), async {
        bed.held().await;
        delete(&bed, key.id).await;
    });
    let list = opened(&woken);
    let ids: Vec<i64> = list.keys.iter().map(|key| key.id).collect();
    assert_eq!(ids, [plain.id]);
    let [order] = &list.end_sessions[..] else {
        panic!("{list:?}");
    };
    assert_eq!(order.fingerprint.as_ref(), Some(&key.fingerprint));
    assert_eq!((order.serial, &order.key_id), (None, &None));
    assert_eq!(order.asked_at, asked_at);
    assert_eq!(order.until, asked_at + SignedDuration::from_hours(168));
    let head = bed.service.store.head(1).await.unwrap().unwrap();
    assert_eq!(head.revision, list.revision);

    let call = format!("DELETE /v1/ssh-keys/{}", plain.id);
    assert_eq!(bed.own(&call, None).await.status, 204);
    let list = opened(&agent.snapshot(&bed, 0, None).await);
    assert_eq!(
        list.end_sessions.len(),
        1,
        "a plain deletion gives no order"
    );
    let again = bed.own(&format!("{call}?end_sessions=true"), None).await;
    assert_eq!(again.code(), (404, "not-found"));
    let unclear = format!("DELETE /v1/ssh-keys/{}?end_sessions=maybe", key.id);
    assert_eq!(bed.own(&unclear, None).await.code(), (400, "bad-query"));
}

#[tokio::test]
async fn a_revoked_keys_sessions_are_to_end_too() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let key = bed.save(ED).await;
    let revoke = format!("POST /v1/ssh-keys/{}/revoke", key.id);
    assert_eq!(bed.own(&revoke, None).await.status, 204);
    let list = opened(&agent.snapshot(&bed, 0, None).await);
    assert_eq!(list.revoked.len(), 1);
    let order = &list.end_sessions[0];
    assert_eq!(order.fingerprint.as_ref(), Some(&key.fingerprint));
    answer(&agent, &bed, order.id, "ended", 1).await;
    let end = rollout(&bed, key.id).await.instances[0].end_sessions;
    assert_eq!(end.unwrap().outcome, OrderOutcome::Ended);
}

#[tokio::test]
async fn an_answer_counts_once_for_its_own_instance_and_account_and_rollout_shows_it() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent().await, bed.agent().await);
    let key = bed.save(ED).await;
    one.heartbeat(&bed, json!({})).await.of::<Value>(200);
    let gone = rollout(&bed, key.id).await;
    assert!(gone.end_sessions.is_none() && gone.instances[0].end_sessions.is_none());
    delete(&bed, key.id).await;
    let list = opened(&one.snapshot(&bed, 0, None).await);
    let order = list.end_sessions[0].id;
    let waiting = rollout(&bed, key.id).await;
    assert_eq!(waiting.fingerprint, key.fingerprint);
    assert_eq!(waiting.revision, list.revision);
    assert!(waiting.end_sessions.unwrap().open);
    assert_eq!(waiting.instances[0].end_sessions, None);

    // Held until an answer is there.
    let etag = bed
        .own(&format!("GET /v1/ssh-keys/{}/rollout", key.id), None)
        .await
        .etag();
    let call = format!("GET /v1/ssh-keys/{}/rollout?wait=60", key.id);
    let known = [("if-none-match", etag.as_str())];
    let (seen, ()) = tokio::join!(bed.call_with(&bed.key, &call, &known, None), async {
        bed.held().await;
        answer(&one, &bed, order, "ended", 2).await;
    });
    let seen: Rollout = seen.of(200);
    let end = seen.instances[0].end_sessions.unwrap();
    assert_eq!(
        (end.outcome, end.ended, end.left),
        (OrderOutcome::Ended, 2, 0)
    );
    assert_eq!(
        seen.instances[1].end_sessions, None,
        "it speaks for itself alone"
    );

    bed.pass(1);
    answer(&one, &bed, order, "none", 0).await;
    answer(&two, &bed, order + 1, "ended", 9).await;
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    let theirs = Bed {
        key: other.api_key.to_string(),
        ..bed
    };
    let stranger = theirs.agent().await;
    answer(&stranger, &theirs, order, "ended", 7).await;
    let call = format!("GET /v1/ssh-keys/{}/rollout", key.id);
    assert_eq!(theirs.own(&call, None).await.code(), (404, "not-found"));
    let store = &theirs.service.store;
    let now = theirs.service.now();
    let (_, results) = store
        .order_of_key(1, crate::service::store::Ended::Id(key.id), now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(results.len(), 1, "{results:?}");
    assert_eq!((results[0].outcome, results[0].ended), (end.outcome, 2));
    assert_eq!(results[0].at, end.at);
}

#[tokio::test]
async fn rollout_says_where_a_deleted_key_stands() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let key = bed.save(ED).await;
    let managed = json!({"managed": [key.fingerprint]});
    let revision = opened(&agent.snapshot(&bed, 0, None).await).revision;
    agent
        .applied(&bed, revision, managed)
        .await
        .of::<Value>(200);
    delete(&bed, key.id).await;
    let there = rollout(&bed, key.id).await;
    assert_eq!(there.instances[0].state, RolloutState::Written);
    let proof = json!({"refused": [key.fingerprint], "at": null});
    let target = json!({"proof": proof});
    agent
        .applied(&bed, there.revision, target)
        .await
        .of::<Value>(200);
    let gone = rollout(&bed, key.id).await;
    assert_eq!(gone.instances[0].state, RolloutState::Refused);
    let why = gone.instances[0].why.as_deref();
    assert_eq!(why, Some("deleted; sshd refuses it"));
}

#[tokio::test]
async fn an_order_leaves_in_a_revision_of_its_own_when_every_live_instance_has_answered() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent().await, bed.agent().await);
    bed.instance().await;
    let key = bed.save(ED).await;
    delete(&bed, key.id).await;
    let list = opened(&one.snapshot(&bed, 0, None).await);
    let order = list.end_sessions[0].id;
    let standing = async || {
        bed.service.settle_orders().await.unwrap();
        let list = opened(&one.snapshot(&bed, 0, None).await);
        (list.end_sessions.len(), list.revision)
    };
    assert_eq!(standing().await, (1, list.revision));
    answer(&one, &bed, order, "ended", 1).await;
    assert_eq!(standing().await, (1, list.revision), "the other is live");
    answer(&two, &bed, order, "none", 0).await;
    let (left, revision) = standing().await;
    assert!(left == 0 && revision > list.revision);
    let shown = rollout(&bed, key.id).await;
    assert!(!shown.end_sessions.unwrap().open);
    assert!(shown.instances[0].end_sessions.is_some());
    assert_eq!(standing().await, (0, revision), "it leaves once");
}

#[tokio::test]
async fn who_is_offline_is_not_waited_for_but_somebody_has_to_answer() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent().await, bed.agent().await);
    let key = bed.save(ED).await;
    bed.pass(3_600);
    delete(&bed, key.id).await;
    let standing = async || {
        bed.service.settle_orders().await.unwrap();
        let keys = bed.service.store.keys(1).await.unwrap();
        keys.orders.len()
    };
    assert_eq!(
        shown(&bed, two.instance).await.state,
        InstanceState::Offline
    );
    assert_eq!(
        standing().await,
        1,
        "nobody is there, and nobody has answered"
    );
    let order = opened(&one.snapshot(&bed, 0, None).await).end_sessions[0].id;
    bed.pass(200);
    assert_eq!(shown(&bed, one.instance).await.state, InstanceState::Stale);
    answer(&two, &bed, order, "ended", 1).await;
    assert_eq!(standing().await, 1, "a stale one may still be there");
    bed.pass(3_600);
    assert_eq!(standing().await, 0);
}

#[tokio::test]
async fn an_order_is_over_after_seven_days_and_its_results_with_it() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let key = bed.save(ED).await;
    delete(&bed, key.id).await;
    bed.pass(7 * 86_400 - 1);
    bed.service.settle_orders().await.unwrap();
    let list = opened(&agent.snapshot(&bed, 0, None).await);
    assert_eq!(list.end_sessions.len(), 1);
    rollout(&bed, key.id).await;
    bed.pass(1);
    bed.service.settle_orders().await.unwrap();
    let after = opened(&agent.snapshot(&bed, 0, None).await);
    assert!(after.end_sessions.is_empty() && after.revision > list.revision);
    let call = format!("GET /v1/ssh-keys/{}/rollout", key.id);
    assert_eq!(bed.own(&call, None).await.code(), (404, "not-found"));
    answer(&agent, &bed, list.end_sessions[0].id, "ended", 1).await;
}

#[tokio::test]
async fn a_removal_says_whether_sessions_end() {
    let bed = Bed::new().await;
    for (query, end) in [("?end_sessions=true", true), ("?take_keys=true", false)] {
        let agent = bed.agent().await;
        let call = format!("DELETE /v1/instances/{}{query}", agent.instance);
        assert_eq!(bed.own(&call, None).await.status, 204);
        let last = opened(&agent.snapshot(&bed, 0, None).await)
            .removed
            .unwrap();
        assert_eq!((last.end_sessions, last.take_keys), (end, !end));
    }
}

#[tokio::test]
async fn device_and_sessions_are_shown_cut_and_outlive_a_restart() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let long = "x".repeat(300);
    let keys: Vec<String> = (0..20).map(|n| format!("SHA256:{n}")).collect();
    let device = json!({"hostname": "box\u{1b}[2J", "os": long, "kernel": "6.1",
        "agent_version": "0.1.0", "host_keys": keys, "boot_time": "2026-11-22T08:00:00Z"});
    let mut sessions = vec![session("SHA256:a", "2026-11-22T18:00:00Z"); 210];
    sessions[0]["user"] = json!("a\n\u{202e}b");
    sessions[0]["kind"] = json!(long);
    let said = json!({"device": device, "sessions": sessions});
    agent.heartbeat(&bed, said).await.of::<Value>(200);
    // Left out, the device is as it was said last.
    agent
        .heartbeat(&bed, json!({"sessions": sessions}))
        .await
        .of::<Value>(200);
    let look = async |bed: &Bed| shown(bed, agent.instance).await;
    let instance = look(&bed).await;
    let device = instance.device.clone().unwrap();
    assert_eq!(device.hostname, "box[2J");
    assert!(device.os.len() == 256 && device.os.ends_with('…'));
    assert_eq!(
        (device.kernel.as_str(), device.host_keys.len()),
        ("6.1", 16)
    );
    let sessions = &instance.status.as_ref().unwrap().sessions;
    assert_eq!(sessions.len(), 200);
    assert_eq!(sessions[0].user, "ab");
    assert_eq!(sessions[0].kind.as_ref().map(String::len), Some(256));
    assert_eq!(sessions[1].pid, 812);

    let clock = bed.clock.clone();
    bed.service.store.write_reports().await.unwrap();
    let again = Service::open_at(&config(&bed.dir), Arc::new(move || *clock.lock().unwrap()));
    let again = Bed {
        router: router(again.unwrap()),
        ..bed
    };
    let after = look(&again).await;
    assert_eq!(after.device, Some(device));
    assert_eq!(&after.status.unwrap().sessions, sessions);
}

#[tokio::test]
async fn a_key_is_last_used_when_its_latest_session_began() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let key = bed.save(ED).await;
    let used = async |sessions: Value| {
        let said = json!({ "sessions": sessions });
        agent.heartbeat(&bed, said).await.of::<Value>(200);
        let call = format!("GET /v1/ssh-keys/{}", key.id);
        let shown: SshKey = bed.own(&call, None).await.of(200);
        let list: Page<SshKey> = bed.own("GET /v1/ssh-keys", None).await.of(200);
        assert_eq!(list.items, std::slice::from_ref(&shown));
        shown.last_used_at.map(|at| at.to_string())
    };
    let revision = bed.service.store.head(1).await.unwrap();
    let of = |since: &str| session(&key.fingerprint, since);
    let told = |at: &str| Some(at.to_owned());
    assert_eq!(used(json!([])).await, None);
    let unknown = session("SHA256:unknown", "2026-11-22T18:00:00Z");
    let keyless = session("", "2026-11-22T18:00:00Z");
    assert_eq!(used(json!([unknown, keyless])).await, None);
    let early = of("2026-11-22T18:00:00Z");
    let later = of("2026-11-22T18:30:00Z");
    let half_past = told("2026-11-22T18:30:00Z");
    assert_eq!(used(json!([early, later, early])).await, half_past);
    // Hardly later, earlier, or over: it stays.
    let hardly = of("2026-11-22T18:31:00Z");
    for sessions in [json!([hardly]), json!([early]), json!([])] {
        assert_eq!(used(sessions).await, half_past);
    }
    let more = of("2026-11-22T18:31:01Z");
    assert_eq!(used(json!([more])).await, told("2026-11-22T18:31:01Z"));
    // Never later than our own clock, whatever the instance's says.
    let ahead = of("2027-01-01T00:00:00Z");
    assert_eq!(used(json!([ahead])).await, told("2026-11-22T19:00:00Z"));
    assert_eq!(bed.service.store.head(1).await.unwrap(), revision);
}
