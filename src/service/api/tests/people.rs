//! People: logging in, and the wait after wrong guesses.

use super::*;
use crate::service::store::AuditRow;
use crate::service::store::testing;
use crate::wire::{Account, LoginAnswer};
use zeroize::Zeroizing;

pub(super) const EMAIL: &str = "p@example.com";
pub(super) const PASSWORD: &str = "correct horse";
const BROWSER: [(&str, &str); 3] = [
    ("host", "keys.example.com"),
    ("origin", URL),
    ("x-sshkeyd", "1"),
];

/// An account with a password; gives its id.
pub(super) async fn person(bed: &Bed) -> i64 {
    let password = Some(Zeroizing::new(PASSWORD.to_owned()));
    let made = bed.service.add_account(EMAIL, password).await.unwrap();
    made.account
}

pub(super) async fn log_in_as(bed: &Bed, email: &str, more: Value) -> Reply {
    let mut body = json!({"email": email, "password": PASSWORD});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    bed.call("", "POST /v1/login", Some(body)).await
}

/// Logs in; gives the session key.
pub(super) async fn session(bed: &Bed) -> String {
    let answer: LoginAnswer = log_in_as(bed, EMAIL, json!({})).await.of(200);
    answer.session_key.unwrap()
}

pub(super) async fn log(bed: &Bed, account: i64) -> Vec<AuditRow> {
    bed.service.write_refused_logins().await;
    let store = &bed.service.store;
    store.audit(account, i64::MAX, 100).await.unwrap()
}

fn cookies(reply: &Reply) -> Vec<String> {
    let all = reply.headers.get_all("set-cookie").iter();
    all.map(|v| v.to_str().unwrap().to_owned()).collect()
}

fn value(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

#[tokio::test]
async fn a_command_line_has_its_session_in_the_body_for_a_week() {
    let bed = Bed::new().await;
    let account = person(&bed).await;
    let device = json!({"device": {"name": "lap\u{1b}[2Jtop", "os": "x".repeat(300)}});
    let reply = log_in_as(&bed, "P@Example.COM", device).await;
    assert!(cookies(&reply).is_empty());
    let answer: LoginAnswer = reply.of(200);
    let key = answer.session_key.unwrap();
    assert!(key.starts_with("skd_ses_"));
    let now = *bed.clock.lock().unwrap();
    assert_eq!(answer.expires_at, now + SignedDuration::from_hours(168));
    let shown: Account = bed.call(&key, "GET /v1/account", None).await.of(200);
    assert_eq!((shown.account, shown.email.as_str()), (account, EMAIL));
    assert_eq!((shown.key.kind.as_str(), shown.totp), ("cli", false));
    assert_eq!(shown.key.name, "lap[2Jtop");
    assert_eq!(shown.key.expires_at, Some(answer.expires_at));
    assert_eq!(shown.rights, json!({"api": {}}));
    let own: Account = bed.own("GET /v1/account", None).await.of(200);
    assert_eq!(
        (own.key.kind.as_str(), own.email.as_str()),
        ("api-key", "a@example.com")
    );

    let cookie = [("cookie", format!("__Host-sshkeyd={key}"))];
    let cookie = [
        ("host", "keys.example.com"),
        ("cookie", cookie[0].1.as_str()),
    ];
    let reply = bed.call_with("", "GET /v1/account", &cookie, None).await;
    assert_eq!(reply.status, 401, "a command line's key is no cookie");
    bed.pass(168 * 3_600 - 1);
    assert_eq!(bed.call(&key, "GET /v1/account", None).await.status, 200);
    bed.pass(1);
    let over = bed.call(&key, "GET /v1/account", None).await;
    assert_eq!(over.code(), (401, "unauthorized"));
    let rows = log(&bed, account).await;
    let acts: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(acts, ["session.create", "account.create"]);
    let by = (rows[0].by_kind.as_str(), rows[0].by_name.as_str());
    assert_eq!(by, ("session", "lap[2Jtop"));
}

#[tokio::test]
async fn a_browser_has_its_session_as_a_cookie_that_only_our_own_page_can_use() {
    let bed = Bed::new().await;
    person(&bed).await;
    let body = json!({"email": EMAIL, "password": PASSWORD});
    let agent = (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:1) Firefox/128.0",
    );
    let enter = async |headers: &[(&str, &str)]| {
        let mut all = vec![agent];
        all.extend(headers);
        let body = Some(body.clone());
        bed.call_with("", "POST /v1/login", &all, body).await
    };
    let [host, origin, marked] = BROWSER;
    let wrong = enter(&[("host", "evil.example"), origin, marked]).await;
    assert_eq!(wrong.code(), (421, "wrong-host"));
    for origin in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let wrong = enter(&[host, origin, marked]).await;
        assert_eq!(wrong.code(), (403, "csrf"));
        assert!(cookies(&wrong).is_empty());
    }
    let reply = enter(&BROWSER).await;
    let answer: LoginAnswer = reply.of(200);
    assert!(answer.session_key.is_none() && answer.device_token.is_none());
    let [cookie, device] = &cookies(&reply)[..] else {
        panic!("{:?}", reply.headers);
    };
    assert!(cookie.starts_with("__Host-sshkeyd=skd_ses_"), "{cookie}");
    let attributes = "; Secure; HttpOnly; SameSite=Strict; Path=/; Max-Age=604800";
    assert!(cookie.ends_with(attributes), "{cookie}");
    assert!(device.starts_with("__Host-sshkeyd-device="), "{device}");
    assert!(device.contains("; Secure; HttpOnly; SameSite=Strict; Path=/; Max-Age="));

    let key = value(cookie).split_once('=').unwrap().1;
    let both = format!("{}; {}", value(cookie), value(device));
    let with = |host| [("host", host), ("cookie", both.as_str())];
    let here = with("keys.example.com");
    let reply = bed.call_with("", "GET /v1/account", &here, None).await;
    let shown: Account = reply.of(200);
    assert_eq!(
        (shown.key.kind.as_str(), shown.key.name.as_str()),
        ("browser", "Firefox")
    );
    let reply = bed
        .call_with("", "GET /v1/account", &with("evil.example"), None)
        .await;
    assert_eq!(reply.code(), (421, "wrong-host"));
    let bearer = bed.call(key, "GET /v1/account", None).await;
    assert_eq!(bearer.code(), (401, "unauthorized"));

    let out = "DELETE /v1/sessions/current";
    let bare = bed
        .call_with("", out, &with("keys.example.com"), None)
        .await;
    assert_eq!(bare.code(), (403, "csrf"));
    let ours = [BROWSER.as_slice(), &[("cookie", both.as_str())]].concat();
    let gone = bed.call_with("", out, &ours, None).await;
    assert_eq!(gone.status, 204);
    let cleared = "__Host-sshkeyd=; Secure; HttpOnly; SameSite=Strict; Path=/; Max-Age=0";
    assert_eq!(cookies(&gone), [cleared]);
    let reply = bed.call_with("", "GET /v1/account", &here, None).await;
    assert_eq!(reply.status, 401);

    // A neighbour below the same parent domain can set a cookie without the prefix, not with it.
    let again = enter(&BROWSER).await;
    let cookie = cookies(&again)[0].clone();
    let key = value(&cookie).split_once('=').unwrap().1;
    let fixed = format!("sshkeyd={key}");
    let reply = bed
        .call_with(
            "",
            "GET /v1/account",
            &[("host", "keys.example.com"), ("cookie", &fixed)],
            None,
        )
        .await;
    assert_eq!(reply.status, 401, "a cookie without the prefix is not ours");
    let beside = format!("sshkeyd=x; {}", value(&cookie));
    let reply = bed
        .call_with(
            "",
            "GET /v1/account",
            &[("host", "keys.example.com"), ("cookie", &beside)],
            None,
        )
        .await;
    assert_eq!(reply.status, 200, "nor does it shut anyone out");

    // On the plain listener itself, under a name of loopback; what listens on another port of it
    // is another origin.
    for foreign in [
        "http://localhost:3000",
        "http://127.0.0.1:8022",
        "http://localhost",
    ] {
        let other = [("host", "localhost:8022"), ("origin", foreign), marked];
        assert_eq!(enter(&other).await.code(), (403, "csrf"), "{foreign}");
    }
    let local = [
        ("host", "localhost:8022"),
        ("origin", "http://localhost:8022"),
        marked,
    ];
    let plain = enter(&local).await;
    assert_eq!(plain.status, 200, "{}", plain.json);
    assert!(cookies(&plain)[0].starts_with("sshkeyd=skd_ses_"));
    assert!(!cookies(&plain)[0].contains("Secure"));
}

#[tokio::test]
async fn a_refused_login_tells_nothing_of_the_account() {
    let bed = Bed::new().await;
    let account = person(&bed).await;
    let now = bed.service.now();
    let off = bed
        .service
        .add_account("off@example.com", Some(Zeroizing::new(PASSWORD.to_owned())));
    let off = off.await.unwrap().account;
    bed.service
        .switch_account("off@example.com", false)
        .await
        .unwrap();
    let tries = [
        (EMAIL, "wrong horse"),
        ("nobody@example.com", PASSWORD),
        // It has no password.
        ("a@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("no address", ""),
    ];
    for (email, password) in tries {
        let reply = log_in_as(&bed, email, json!({"password": password})).await;
        let mut problem = reply.json.clone();
        problem.as_object_mut().unwrap().remove("request_id");
        let expected = json!({"type": "about:blank", "title": "Unauthorized", "status": 401,
            "code": "wrong-login", "detail": "address or password is wrong"});
        assert_eq!(problem, expected, "{email}");
    }
    for account in [account, off] {
        let row = &log(&bed, account).await[0];
        assert_eq!(
            (row.action.as_str(), row.outcome.as_str()),
            ("account.login", "refused")
        );
        assert_eq!((row.by_kind.as_str(), row.at), ("nobody", now));
        assert!(!row.detail.contains("horse"), "{}", row.detail);
    }
    let strangers = "SELECT guesses FROM strangers";
    let guesses = testing::with(bed.dir.path(), |db| {
        db.query_row(strangers, [], |row| row.get::<_, i64>(0))
    });
    let guesses = guesses.unwrap();
    assert_eq!(guesses, 2);
}

#[tokio::test]
async fn an_unknown_address_costs_the_same_time() {
    let bed = Bed::new().await;
    person(&bed).await;
    let timed = async |email: String| {
        let begin = crate::sys::clock::monotonic();
        let reply = log_in_as(&bed, &email, json!({"password": "wrong horse"})).await;
        assert_eq!(reply.status, 401);
        crate::sys::clock::monotonic() - begin
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for n in 0..5 {
        known.push(timed(EMAIL.to_owned()).await);
        unknown.push(timed(format!("nobody{n}@example.com")).await);
    }
    known.sort();
    unknown.sort();
    let ratio = known[2].as_secs_f64() / unknown[2].as_secs_f64();
    assert!((0.4..2.5).contains(&ratio), "{known:?} {unknown:?}");
}

#[tokio::test]
async fn five_wrong_tries_slow_down_and_nobody_elses() {
    let bed = Bed::new().await;
    person(&bed).await;
    let first: LoginAnswer = log_in_as(&bed, EMAIL, json!({})).await.of(200);
    let (token, own_session) = (first.device_token.unwrap(), first.session_key.unwrap());
    let theirs = bed
        .service
        .add_account("b@example.com", Some(Zeroizing::new(PASSWORD.to_owned())));
    theirs.await.unwrap();
    let wrong = json!({"password": "wrong horse"});
    for email in [EMAIL, "nobody@example.com"] {
        for _ in 0..5 {
            let reply = log_in_as(&bed, email, wrong.clone()).await;
            assert_eq!(reply.code(), (401, "wrong-login"), "{email}");
        }
        for wait in [1, 2] {
            // The right password is not looked at either.
            for body in [json!({}), wrong.clone()] {
                let reply = log_in_as(&bed, email, body).await;
                assert_eq!(reply.code(), (429, "slow-down"), "{email}");
                assert_eq!(reply.headers["retry-after"], wait.to_string());
            }
            bed.pass(wait);
            let reply = log_in_as(&bed, email, wrong.clone()).await;
            assert_eq!(reply.code(), (401, "wrong-login"), "{email}");
        }
    }
    log_in_as(&bed, "b@example.com", json!({}))
        .await
        .of::<LoginAnswer>(200);
    // A device that logged in before is not slowed down, but by its own guesses.
    let known = json!({"device_token": token});
    let again: LoginAnswer = log_in_as(&bed, EMAIL, known).await.of(200);
    let token = again.device_token.unwrap();
    for _ in 0..5 {
        let body = json!({"device_token": token, "password": "wrong horse"});
        assert_eq!(log_in_as(&bed, EMAIL, body).await.status, 401);
    }
    let body = json!({"device_token": token});
    assert_eq!(
        log_in_as(&bed, EMAIL, body.clone()).await.code(),
        (429, "slow-down")
    );
    bed.pass(1);
    assert_eq!(log_in_as(&bed, EMAIL, body.clone()).await.status, 200);
    // It is this account's alone.
    let other = log_in_as(&bed, "nobody@example.com", body).await;
    assert_eq!(other.code(), (429, "slow-down"));
    // Whoever waits for half a minute may try again.
    bed.pass(30);
    log_in_as(&bed, EMAIL, json!({}))
        .await
        .of::<LoginAnswer>(200);
    // A session that guesses is slowed down by itself.
    let change = json!({"password": "wrong horse", "new_password": "another horse"});
    let call = "POST /v1/account/password";
    for _ in 0..5 {
        let reply = bed.call(&own_session, call, Some(change.clone())).await;
        assert_eq!(reply.code(), (403, "wrong-password"));
    }
    let reply = bed.call(&own_session, call, Some(change)).await;
    assert_eq!(reply.code(), (429, "slow-down"));
}
