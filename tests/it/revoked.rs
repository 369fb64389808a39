//! A revoked key goes from every line of every managed file, whoever put it there.

use crate::support::host::{Home, Host, read};
use crate::support::process::wait_until;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use std::fs;

#[test]
fn a_revoked_key_goes_from_foreign_lines_too_and_a_copy_is_kept() {
    let service = Service::start();
    let home = Home::new();
    let [lost, other] = [(); 2].map(|()| public_key());
    let foreign = format!("# by hand\nno-pty {lost} mine, by hand\n{other} theirs\n{lost} again");
    home.write(&foreign);
    let mut host = Host::new()
        .of_account(&service)
        .with_file("break-glass")
        .with_home(&home, "account break-glass", "");
    // Another source has it too: the revocation goes before that.
    host.write_file("break-glass", &format!("{lost} spare\n{other} spare\n"));
    host.up();
    host.wait_listed();
    let id = service.save(&lost, "laptop", &[]);
    wait_until("the key in the block", || {
        home.text().contains("\"laptop\"")
    });

    // A delete alone leaves what others wrote, and says so.
    service.delete(id);
    wait_until("the block to let go", || {
        !home.text().contains("\"laptop\"")
    });
    assert_eq!(home.text().matches(&lost.to_string()).count(), 3);

    let id = service.save(&lost, "laptop", &[]);
    let said = service.run(&["ssh-keys", "revoke", &id.to_string()]).done();
    assert!(said.out.contains("revoked"), "{}", said.out);
    home.wait_has(&lost, false);
    assert!(
        home.text()
            .starts_with(&format!("# by hand\n{other} theirs\n")),
        "{}",
        home.text()
    );
    let target = &host.sync().targets[0];
    assert!(
        target.rejected.iter().any(|r| r.why.contains("revoked")),
        "{target:?}"
    );

    // Each line is kept with its place, where only root reads.
    let kept = host.dir.path().join("state/removed");
    let copies: Vec<String> = fs::read_dir(&kept)
        .unwrap()
        .map(|file| read(&file.unwrap().path()))
        .collect();
    let has = |line: &str, text: &str| {
        let file = home.authorized_keys().display().to_string();
        copies
            .iter()
            .any(|c| c.contains(&format!("{file} line {line},")) && c.contains(text))
    };
    assert!(
        has("2", &format!("no-pty {lost} mine, by hand")) && has("4", "again"),
        "{copies:?}"
    );

    // By hand it does not come back either, and the account never takes it again.
    home.write(&format!("{}{lost} back\n", home.text()));
    home.wait_has(&lost, false);
    let file = service.key_file(&lost, "again");
    let again = service.run(&["ssh-keys", "add", file.to_str().unwrap()]);
    assert_eq!(again.code, Some(1), "{}", again.err);
    assert!(again.err.contains("revoked"), "{}", again.err);

    // The service away, the agent started anew: it holds.
    drop(service);
    host.kill();
    home.write(&format!("{}{lost} back\n", home.text()));
    host.up();
    home.wait_has(&lost, false);
    assert!(home.has(&other));
}
