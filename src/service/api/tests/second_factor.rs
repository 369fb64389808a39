//! People: the second factor, and making an account.

use super::people::{EMAIL, PASSWORD, log, log_in_as, person, session};
use super::*;
use crate::wire::{Account, LoginAnswer, TotpBegun, TotpConfirmed, TotpStatus};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// What an authenticator shows (RFC 6238).
fn code(secret: &str, at: Timestamp) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: String = secret
        .chars()
        .map(|c| format!("{:05b}", alphabet.find(c).unwrap()))
        .collect();
    let bytes: Vec<u8> = (0..20)
        .map(|n| u8::from_str_radix(&bits[n * 8..n * 8 + 8], 2).unwrap())
        .collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(&bytes).unwrap();
    mac.update(&(at.as_second() / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] & 15);
    let word = u32::from_be_bytes(digest[offset..offset + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_each_code_is_good_once() {
    let bed = Bed::new().await;
    let account = person(&bed).await;
    let key = session(&bed).await;
    let totp = async |call: &str, body: Value| bed.call(&key, call, Some(body)).await;
    let given = json!({"password": PASSWORD});
    let early = totp("POST /v1/account/totp/confirm", json!({"code": "123456"})).await;
    assert_eq!(early.code(), (409, "totp-not-begun"));
    let wrong = totp("POST /v1/account/totp", json!({"password": "wrong horse"})).await;
    assert_eq!(wrong.code(), (403, "wrong-password"));
    let begun: TotpBegun = totp("POST /v1/account/totp", given.clone()).await.of(200);
    assert!(
        begun.uri.contains(&format!("secret={}&", begun.secret)),
        "{}",
        begun.uri
    );
    // It is not in force yet.
    session(&bed).await;
    let now = || *bed.clock.lock().unwrap();
    let call = "POST /v1/account/totp/confirm";
    let other = totp(
        call,
        json!({"code": code(&begun.secret, now() - SignedDuration::from_hours(1))}),
    );
    assert_eq!(other.await.code(), (403, "wrong-code"));
    let first = code(&begun.secret, now());
    let confirmed: TotpConfirmed = totp(call, json!({ "code": first })).await.of(200);
    assert_eq!(confirmed.backup_codes.len(), 10);
    assert_eq!(
        totp(call, json!({ "code": first })).await.code(),
        (409, "totp-on")
    );
    let again = totp(
        "POST /v1/account/totp",
        json!({"password": PASSWORD, "code": &confirmed.backup_codes[0]}),
    );
    assert_eq!(again.await.code(), (409, "totp-on"));
    let status: TotpStatus = bed.call(&key, "GET /v1/account/totp", None).await.of(200);
    assert!(status.enabled && status.backup_codes_left == 9);

    let enter = async |code: &str| log_in_as(&bed, EMAIL, json!({ "code": code })).await;
    assert_eq!(
        log_in_as(&bed, EMAIL, json!({})).await.code(),
        (401, "totp-required")
    );
    let blind = log_in_as(&bed, EMAIL, json!({"password": "wrong horse"})).await;
    assert_eq!(blind.code(), (401, "wrong-login"), "the password first");
    assert_eq!(
        enter(&first).await.code(),
        (401, "wrong-code"),
        "it confirmed"
    );
    bed.pass(30);
    let next = code(&begun.secret, now());
    enter(&next).await.of::<LoginAnswer>(200);
    assert_eq!(
        enter(&next).await.code(),
        (401, "wrong-code"),
        "it was used"
    );
    bed.pass(60);
    let late = code(&begun.secret, now() - SignedDuration::from_secs(30));
    enter(&late).await.of::<LoginAnswer>(200);
    let backup = confirmed.backup_codes[1].to_uppercase().replace('-', " ");
    enter(&backup).await.of::<LoginAnswer>(200);
    assert_eq!(enter(&backup).await.code(), (401, "wrong-code"));
    // Wrong codes are wrong guesses: three so far, and the blind one.
    assert_eq!(enter("000 000").await.status, 401);
    assert_eq!(
        enter(&confirmed.backup_codes[2]).await.code(),
        (429, "slow-down")
    );

    // Wherever the password is asked for again.
    let change = json!({"password": PASSWORD, "new_password": "another horse"});
    let reply = totp("POST /v1/account/password", change).await;
    assert_eq!(reply.code(), (403, "totp-required"));
    let reply = totp("DELETE /v1/account/totp", given).await;
    assert_eq!(reply.code(), (403, "totp-required"));
    let off = json!({"password": PASSWORD, "code": confirmed.backup_codes[3]});
    assert_eq!(totp("DELETE /v1/account/totp", off).await.status, 204);
    bed.pass(1);
    session(&bed).await;
    let rows = log(&bed, account).await;
    let text: String = rows.iter().map(|row| row.detail.as_str()).collect();
    assert!(!text.contains(&begun.secret) && !text.contains(&confirmed.backup_codes[0]));
    for act in ["account.totp-on", "account.totp-off", "account.backup-code"] {
        assert!(
            rows.iter()
                .any(|row| row.action == act && row.outcome == "done"),
            "{act}"
        );
    }
}

#[tokio::test]
async fn anyone_makes_an_account_only_where_that_is_allowed() {
    let closed = Bed::new().await;
    let body = |email: &str| Some(json!({"email": email, "password": PASSWORD}));
    let call = "POST /v1/sign-up";
    let reply = closed.call("", call, body("new@example.com")).await;
    assert_eq!(reply.code(), (404, "not-found"));
    let bed = Bed::with(|config| config.sign_up = true).await;
    let bad = bed.call("", call, body("no address")).await;
    assert_eq!(bad.code(), (400, "bad-email"));
    let short = json!({"email": "new@example.com", "password": "short"});
    let short = bed.call("", call, Some(short)).await;
    assert_eq!(short.code(), (400, "bad-password"));
    let made: LoginAnswer = bed.call("", call, body("new@example.com")).await.of(201);
    let key = made.session_key.unwrap();
    let shown: Account = bed.call(&key, "GET /v1/account", None).await.of(200);
    assert_eq!(shown.email, "new@example.com");
    log_in_as(&bed, "new@example.com", json!({}))
        .await
        .of::<LoginAnswer>(200);
    let taken = bed.call("", call, body("NEW@example.com")).await;
    assert_eq!(taken.code(), (409, "taken"));
    let row = &log(&bed, shown.account).await[0];
    assert_eq!(
        (row.action.as_str(), row.outcome.as_str()),
        ("account.login", "refused")
    );
    // Whatever comes of it, a network asks five times and then waits.
    for n in 0..3 {
        bed.call("", call, body(&format!("{n}@example.com"))).await;
    }
    let more = bed.call("", call, body("more@example.com")).await;
    assert_eq!(more.code(), (429, "slow-down"));
    assert_eq!(more.headers["retry-after"], "1");
}
