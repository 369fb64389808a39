//! How certificates end on a machine, and how a revocation list comes that does not travel with the
//! keys: nothing is taken away while sshd names it, and nothing stays that is not wanted.

use super::{Bed, on};
use crate::support::host::{Host, read};
use crate::support::logins::LoggedSshd;
use crate::support::managed::Managed;
use crate::support::process::wait_until;
use crate::support::proxy::Proxy;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::{KeyPair, User, WorkDir, keygen, put};
use serde_json::json;
use sshkeyd::trust::Krl;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::Path;

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn switched_off_by_a_reload_everything_goes_and_comes_back() {
    let mut bed = Bed::new();
    let (first, ..) = bed.wait_certified("first");
    let directory = bed.managed.dir().join("trust");
    let toml = bed.host.toml();
    bed.host
        .configure_as(toml.replace("user-ca = true", "user-ca = false"));
    wait_until("the files to go", || !bed.file("").exists());
    bed.assert_gone();
    assert!(!bed.lets_in(&first));
    assert_eq!(bed.host.status().certificates, None);

    // And back, in another directory: the first one's place is not held for ever.
    bed.host.configure_as(toml.clone());
    wait_until("the certificate to log in", || bed.lets_in(&first));
    let other = bed.managed.dir().join("other");
    let moved = toml.replace(directory.to_str().unwrap(), other.to_str().unwrap());
    bed.host.configure_as(moved);
    wait_until("the old directory to go", || !directory.exists());
    assert!(bed.drop_in().contains(other.to_str().unwrap()));
    assert!(bed.lets_in(&first));
    bed.assert_own_key();
    bed.host.run(&["unmanage"]).done();
    assert!(!other.exists() && !directory.exists());
    bed.assert_own_key();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_directory_by_another_name_is_the_same_and_its_list_never_goes() {
    let mut bed = Bed::new();
    let (first, ..) = bed.wait_certified("first");
    let (directory, link) = (bed.file(""), bed.managed.dir().join("link"));
    let before = fs::metadata(bed.file("revoked.krl")).unwrap().ino();
    symlink("trust", &link).unwrap();
    let toml = bed.host.toml();
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    let by_link = format!("directory = \"{}\"", link.display());
    let moved = toml.replace(&format!("directory = \"{directory}\""), &by_link);
    assert_ne!(moved, toml);
    let named = format!("RevokedKeys {}/revoked.krl", link.display());
    bed.host.configure_as(moved);
    wait_until("the new name", || bed.drop_in().contains(&named));
    bed.host.wait_status("all in force", |status| {
        let certificates = status.certificates.as_ref();
        certificates.is_some_and(|c| !c.user_ca.is_empty() && c.krl_version.is_some())
    });
    bed.host.sync();
    // Taken away and put back it would be another file, and nobody could log in between.
    assert_eq!(fs::metadata(bed.file("revoked.krl")).unwrap().ino(), before);
    assert_eq!(bed.host.condition("left-behind"), None);
    assert!(bed.lets_in(&first));
    bed.assert_own_key();
    bed.host.run(&["unmanage"]).done();
    // The link is his, and so the directory stays; nothing is in it.
    assert!(!bed.file("revoked.krl").exists() && !bed.file("user-ca.pub").exists());
    assert_eq!(bed.managed.all_drop_ins(), []);
    bed.assert_own_key();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn the_source_that_is_taken_out_takes_its_cas_and_its_list_with_it() {
    let mut bed = Bed::new();
    let (first, ..) = bed.wait_certified("first");
    let toml = bed.host.toml();
    let (before, after) = toml.split_once("[[source]]").unwrap();
    let (_, targets) = after.split_once("[[target]]").unwrap();
    let file = bed.host.dir.path().join("keys.pub");
    put(&file, &format!("{} own\n", bed.managed.own.public), 0o600);
    let source = format!(
        "[[source]]\nname = \"keys\"\nfile.path = \"{}\"\n",
        file.display()
    );
    let targets = targets.replace("\"account\"", "\"keys\"");
    bed.host
        .configure_as(format!("{before}{source}[[target]]{targets}"));
    wait_until("the files to go", || !bed.file("").exists());
    wait_until("the drop-in to go", || {
        bed.managed.all_drop_ins().is_empty()
    });
    assert!(!bed.lets_in(&first));
    bed.assert_own_key();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_removed_instance_takes_no_certificate_and_goes_on_refusing_what_was_revoked() {
    let bed = Bed::new();
    let (stays, ..) = bed.wait_certified("stays");
    let (gone, serial, _) = bed.certify("gone");
    bed.revoke(&json!({ "serial": serial }));
    wait_until("it to be refused", || !bed.lets_in(&gone));
    let lost = &bed.managed.spare;
    bed.revoke(&json!({ "public_key": lost.public.to_string() }));
    let path = format!("DELETE /v1/instances/{}?take_keys=false", bed.instance);
    let (status, _, said) = bed.service.http(&path, "");
    assert!(status < 300, "{said}");
    bed.host.wait_condition("removed");
    wait_until("certificates to stop", || !bed.lets_in(&stays));
    wait_until("the CAs to go", || {
        !bed.file("user-ca.pub").exists() && !bed.drop_in().contains("TrustedUserCAKeys")
    });
    assert!(bed.drop_in().contains("RevokedKeys"));
    // A key that was revoked and that its owner puts back by hand.
    let both = format!("{}\n{}\n", bed.managed.own.public, lost.public);
    bed.managed.user.authorize(&both);
    assert!(!bed.lets_in(lost));
    bed.assert_own_key();
    bed.host.run(&["unmanage"]).done();
    bed.assert_gone();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn who_is_no_target_any_more_is_logged_in_as_by_no_certificate() {
    let mut bed = Bed::new();
    let (first, ..) = bed.wait_certified("first");
    let user = bed.managed.user.name.clone();
    let other = User::new();
    other.authorize("");
    let toml = bed.host.toml();
    bed.host.configure_as(toml.replace(&user, &other.name));
    wait_until("the other to be logged in as", || {
        bed.managed.sshd.lets_in(&other, &first.private)
    });
    wait_until("his principals to go", || {
        !bed.file("principals").join(&user).exists()
    });
    assert!(!bed.lets_in(&first));
    bed.assert_own_key();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_lost_state_directory_leaves_what_stands_until_there_is_a_list() {
    let mut bed = Bed::new();
    let (first, ..) = bed.wait_certified("first");
    let (gone, serial, _) = bed.certify("gone");
    bed.revoke(&json!({ "serial": serial }));
    wait_until("it to be refused", || !bed.lets_in(&gone));
    let krl = fs::read(bed.file("revoked.krl")).unwrap();
    bed.host.stop();
    let state = bed.host.dir.path().join("state");
    fs::remove_dir_all(&state).unwrap();

    // The token is spent: nothing is heard of the account.
    bed.host.up();
    bed.host.wait_condition("not-enrolled");
    assert_eq!(fs::read(bed.file("revoked.krl")).unwrap(), krl);
    assert!(bed.lets_in(&first) && !bed.lets_in(&gone));
    bed.assert_own_key();
    // Somebody takes the list away, which nobody here can bring back: no lock-out all the same.
    fs::remove_file(bed.file("revoked.krl")).unwrap();
    wait_until("a list that lets keys in", || bed.lets_in(&bed.managed.own));
    bed.host.wait_condition("krl-not-in-force");

    // A new token, and all is as it was.
    let (_, token) = bed.service.create_instance("again");
    put(&bed.host.token_file(), &token, 0o600);
    bed.host.signal("USR1");
    wait_until("the list of before", || {
        fs::read(bed.file("revoked.krl")).is_ok_and(|now| now == krl)
    });
    bed.host.wait_cleared("krl-not-in-force");
    assert!(bed.lets_in(&first) && !bed.lets_in(&gone));
    bed.assert_own_key();
    bed.host.run(&["unmanage"]).done();
    bed.assert_gone();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_long_list_is_fetched_once_by_its_digest() {
    let proxy = Proxy::start();
    let service = Service::start_behind(Some(proxy.address));
    proxy.stand_before(service.address);
    let mut bed = Bed::with(service, Managed::new(""), "");
    let (first, ..) = bed.wait_certified("first");
    let small = bed.certificates().krl_version.unwrap();
    // While it cannot be had the one before stays, and that is said; keys do not wait.
    proxy.lie(|request, answer| (!request.contains("/v1/agent/krl/")).then_some(answer));
    for _ in 0..130 {
        bed.revoke(&json!({ "public_key": public_key().to_string() }));
    }
    let said = bed.host.wait_condition("krl-not-in-force");
    assert!(said.text.contains("is not here yet"), "{said:?}");
    let key = &bed.managed.listed;
    bed.service.save(&key.public, "listed", &[]);
    wait_until("the key to log in", || bed.lets_in(key));
    assert!(bed.certificates().krl_version >= Some(small));
    bed.assert_own_key();
    // Something else in its place is not taken either.
    proxy.lie(|request, mut answer| {
        if request.contains("/v1/agent/krl/") {
            answer.body[0] ^= 1;
        }
        Some(answer)
    });
    bed.host.sync();
    let said = bed.host.wait_condition("krl-not-in-force");
    assert!(said.text.contains("than the signed list names"), "{said:?}");
    bed.assert_own_key();

    proxy.be_honest();
    bed.host.wait_cleared("krl-not-in-force");
    let krl = fs::read(bed.file("revoked.krl")).unwrap();
    assert!(krl.len() > 4096);
    assert_eq!(Krl::parse(&krl).unwrap().sha256.len(), 130);
    wait_until("its number", || {
        bed.certificates().krl_version == Some(Krl::parse(&krl).unwrap().version)
    });
    assert!(bed.lets_in(&first));
    // Not again: it is kept, and in force before anybody can be asked.
    let asked = proxy.requests_of("/v1/agent/krl/").len();
    bed.host.stop();
    proxy.kill();
    fs::remove_file(bed.file("revoked.krl")).unwrap();
    bed.host.up();
    wait_until("the list", || {
        fs::read(bed.file("revoked.krl")).is_ok_and(|now| now == krl)
    });
    bed.assert_own_key();
    proxy.stand_before(bed.service.address);
    bed.host.wait_cleared("source-offline");
    bed.host.sync();
    assert_eq!(proxy.requests_of("/v1/agent/krl/").len(), asked);
    bed.assert_own_key();
}

/// sshd's own opinion of certificates and lists, in the release after.
#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn openssh_10_takes_and_refuses_them_too() {
    let place = WorkDir::new();
    let drop_ins = place.path().join("sshd_config.d");
    DirBuilder::new().mode(0o755).create(&drop_ins).unwrap();
    let sshd = LoggedSshd::start_openssh_10(&format!("Include {}/*.conf", drop_ins.display()));
    let (user, own) = (User::new(), sshd.pair("own"));
    sshd.admit(&user);
    user.authorize(&format!("{} own\n", own.public));
    let service = Service::start();
    let mut host = sshd
        .asked_by(Host::new())
        .with_drop_in_at(&drop_ins.join("30-sshkeyd.conf"))
        .of_account(&service)
        .with_target(&user, "account", "")
        .with_certificates(&on(&place.path().join("trust")));
    host.up();
    host.wait_listed();
    let lets_in = |key: &KeyPair| {
        let mut ssh = sshd.openssh("ssh", key);
        ssh.arg(format!("{}@127.0.0.1", user.name)).arg("true");
        ssh.output().unwrap().status.success()
    };
    let certify = |name: &str| {
        let key = keygen(sshd.dir(), name, "ed25519");
        let body = json!({ "public_key": key.public.to_string() }).to_string();
        let (status, _, made) = service.http("POST /v1/certificates/user", &body);
        assert_eq!(status, 201, "{made}");
        let mut file = key.private.clone().into_os_string();
        file.push("-cert.pub");
        put(
            Path::new(&file),
            made["certificate"].as_str().unwrap(),
            0o644,
        );
        (
            key,
            made["serial"].as_u64().unwrap(),
            made["key_id"].clone(),
        )
    };
    let (first, serial, _) = certify("first");
    let (second, _, key_id) = certify("second");
    host.wait_status("all in force", |status| {
        let certificates = status.certificates.as_ref();
        certificates.is_some_and(|c| !c.user_ca.is_empty() && c.krl_version.is_some())
    });
    assert!(lets_in(&first) && lets_in(&second) && lets_in(&own));
    let drop_in = read(&drop_ins.join("30-sshkeyd.conf"));
    let revoke = |body: serde_json::Value| {
        let (status, _, said) = service.http("POST /v1/certificates/revoke", &body.to_string());
        assert_eq!(status, 204, "{said}");
    };
    revoke(json!({ "serial": serial }));
    wait_until("the first to be refused", || !lets_in(&first));
    assert!(lets_in(&second));
    revoke(json!({ "key_id": key_id }));
    wait_until("the second to be refused", || !lets_in(&second));
    // A key that somebody else has put where the agent writes nothing.
    let lost = sshd.pair("lost");
    let more = sshd.dir().join(format!("more-{}", user.name));
    put(&more, &format!("{}\n", lost.public), 0o644);
    assert!(lets_in(&lost));
    revoke(json!({ "public_key": lost.public.to_string() }));
    wait_until("the lost key to be refused", || !lets_in(&lost));
    assert_eq!(read(&drop_ins.join("30-sshkeyd.conf")), drop_in);
    assert!(lets_in(&own));
    host.run(&["unmanage"]).done();
    assert!(!place.path().join("trust").exists());
    assert!(lets_in(&own) && lets_in(&lost));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_image_is_not_sealed_while_sshds_configuration_names_the_accounts_ca() {
    let mut bed = Bed::new();
    let (first, ..) = bed.wait_certified("first");
    bed.host.stop();
    // sshd does not say what is in force: nothing can be taken out of its configuration.
    let config = read(&bed.managed.sshd.config);
    put(
        &bed.managed.sshd.config,
        &format!("{config}NoSuchKeyword yes\n"),
        0o644,
    );
    let sealed = bed.host.run(&["seal-image"]);
    assert!(
        sealed.code == Some(1) && sealed.err.contains("not sealed"),
        "{sealed:?}"
    );
    assert!(bed.drop_in().contains("TrustedUserCAKeys"));
    assert!(bed.host.dir.path().join("state/trust-files.json").exists());
    bed.assert_own_key();
    put(&bed.managed.sshd.config, &config, 0o644);
    bed.host.run(&["seal-image"]).done();
    bed.assert_gone();
    assert!(!bed.lets_in(&first));
}
