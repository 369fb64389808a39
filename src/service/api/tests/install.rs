//! `/install`: a script, and the programs that it is for.

use super::*;
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use std::process::{Command, Stdio};

async fn fetch(router: &Router, path: &str) -> (Response, Vec<u8>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let mut response = router.clone().oneshot(request).await.unwrap();
    let body = std::mem::take(response.body_mut());
    let bytes = body.collect().await.unwrap().to_bytes();
    (response, bytes.to_vec())
}

#[expect(clippy::disallowed_methods, reason = "as an administrator does it")]
fn put(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A service whose `install-dir` has these programs.
async fn with(programs: &[(&str, &[u8])]) -> (Bed, Router, std::path::PathBuf) {
    let bed = Bed::new().await;
    let dir = bed.dir.path().join("programs");
    std::fs::create_dir(&dir).unwrap();
    for (name, bytes) in programs {
        put(&dir.join(name), bytes);
    }
    let config = ServerConfig {
        install_dir: Some(dir.clone()),
        ..config(&bed.dir)
    };
    let now = bed.service.clock.clone();
    let router = router(Service::open_at(&config, now).unwrap());
    (bed, router, dir)
}

async fn script(router: &Router) -> String {
    let (response, bytes) = fetch(router, "/install").await;
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/x-shellscript"), "{kind}");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_script_names_each_program_by_what_it_is() {
    let own = std::env::consts::ARCH;
    let other = match own {
        "x86_64" => "aarch64",
        _ => "x86_64",
    };
    let large = vec![7; 300 * 1024 + 1];
    let name = format!("sshkeyd-{other}");
    let (_bed, router, dir) = with(&[(name.as_str(), &large), ("sshkeyd-mips", b"x")]).await;
    let text = script(&router).await;
    assert!(
        text.contains(&format!("    {other}) echo {} ;;\n", hex(&large))),
        "{text}"
    );
    assert!(
        text.contains(&format!("    {own}) echo ")),
        "the running one: {text}"
    );
    assert!(!text.contains("mips)") && !has_holes(&text), "{text}");
    let (response, bytes) = fetch(&router, &format!("/install/{name}")).await;
    assert_eq!(bytes, large);
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );

    // Another file is another program from the next request on.
    put(&dir.join(&name), b"newer");
    assert!(script(&router).await.contains(&hex(b"newer")));
    assert_eq!(
        fetch(&router, &format!("/install/{name}")).await.1,
        b"newer"
    );
    // What stands in install-dir comes before the running program.
    put(&dir.join(format!("sshkeyd-{own}")), b"own");
    assert!(script(&router).await.contains(&hex(b"own")));

    for nothing in [
        "sshkeyd-mips",
        "sshkeyd-",
        "sshkeyd",
        "..%2Fsecrets",
        "sshkeyd-..%2F..%2Fa.db",
    ] {
        let (response, _) = fetch(&router, &format!("/install/{nothing}")).await;
        assert_eq!(response.status(), 404, "{nothing}");
    }
    std::fs::remove_file(dir.join(&name)).unwrap();
    std::fs::create_dir(dir.join(&name)).unwrap();
    let (response, _) = fetch(&router, &format!("/install/{name}")).await;
    assert_eq!(response.status(), 500);
}

fn has_holes(text: &str) -> bool {
    [
        "@URL@",
        "@PUBLIC-URL@",
        "@VERSION@",
        "@DIGESTS@",
        "@UNIT@",
        "@SYSUSERS@",
        "@TMPFILES@",
    ]
    .iter()
    .any(|hole| text.contains(hole))
}

#[tokio::test]
async fn the_line_has_the_token_in_the_environment_alone() {
    let bed = Bed::new().await;
    let made = bed.instance().await;
    let token = &made.enroll_token;
    let line = format!("curl -fsS {URL}/install | SSHKEYD_TOKEN={token} sh");
    assert_eq!(made.install, line);
}

#[tokio::test]
async fn no_more_than_so_many_download_at_a_time() {
    let (_bed, router, _) = with(&[("sshkeyd-aarch64", &[0; 1000])]).await;
    let get = || {
        Request::get("/install/sshkeyd-aarch64")
            .body(Body::empty())
            .unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(router.clone().oneshot(get()).await.unwrap());
    }
    let (full, _) = fetch(&router, "/install/sshkeyd-aarch64").await;
    assert_eq!(full.status(), 429);
    assert!(full.headers().contains_key("retry-after"));
    held.pop();
    assert_eq!(
        fetch(&router, "/install/sshkeyd-aarch64").await.0.status(),
        200
    );
}

/// What a shell says of the script.
fn judged(judge: &[&str], script: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new(judge[0])
        .args(&judge[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", judge[0]));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    let said = child.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&text));
    String::from_utf8(text).unwrap()
}

#[tokio::test]
#[ignore = "needs dash and shellcheck; tests/run includes it"]
async fn the_script_is_plain_sh() {
    let (_bed, router, _) = with(&[("sshkeyd-aarch64", b"x"), ("sshkeyd-x86_64", b"y")]).await;
    let text = script(&router).await;
    assert!(!has_holes(&text), "{text}");
    assert_eq!(judged(&["dash", "-n"], &text), "");
    assert_eq!(judged(&["shellcheck", "--shell=sh", "-"], &text), "");
}
