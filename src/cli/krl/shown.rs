//! A revocation list in numbers, and where it is in force.
//!
//! What instances say is theirs to say (protocol.md section 5): it is shown as theirs.

use crate::cli::output::Output;
use crate::cli::rollout::state_word;
use crate::client::clean;
use crate::trust::Krl;
use crate::wire::{Instance, InstanceState};
use jiff::Timestamp;
use serde::Serialize;

/// Bytes of a label in a table.
const CELL: usize = 64;

/// The list.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    version: u64,
    generated_at: Option<Timestamp>,
    size: usize,
    /// Certificates by serial.
    serials: u64,
    /// The ranges that those stand in.
    serial_ranges: u64,
    /// Certificates by key ID.
    key_ids: u64,
    /// Keys.
    keys: u64,
    /// Where it is in force; none where instances are not shown.
    instances: Option<Vec<There>>,
}

/// One instance.
#[derive(Debug, Serialize)]
struct There {
    id: i64,
    label: String,
    state: InstanceState,
    /// It keeps certificates at all.
    certificates: bool,
    /// The list that it says is in force.
    krl_version: Option<u64>,
    /// The list by which its sshd was seen to refuse.
    proved_krl: Option<u64>,
    /// Whether that is this list, or a later one.
    in_force: bool,
}

impl Shown {
    /// Counts.
    pub(super) fn of(krl: &Krl, size: usize, instances: Option<&[Instance]>) -> Self {
        let revoked = || krl.certificates.values();
        let ranges = || revoked().flat_map(|of| of.serials.ranges());
        let count = |n: usize| n as u64;
        // By one key ID each list is known apart from all others; nobody holds such a certificate.
        let probe = format!("/probe/{}", krl.version);
        let is_probe = |id: &[u8]| id.ends_with(probe.as_bytes());
        let key_ids = revoked().flat_map(|of| &of.key_ids);
        Self {
            version: krl.version,
            generated_at: i64::try_from(krl.generated_at)
                .ok()
                .filter(|second| *second > 0)
                .and_then(|second| Timestamp::from_second(second).ok()),
            size,
            serials: ranges().fold(0, |sum: u64, range| {
                sum.saturating_add((range.end() - range.start()).saturating_add(1))
            }),
            serial_ranges: count(ranges().count()),
            key_ids: count(key_ids.filter(|id| !is_probe(id)).count()),
            keys: count(krl.keys.len() + krl.sha256.len() + krl.sha1.len()),
            instances: instances.map(|all| all.iter().map(|i| There::of(i, krl)).collect()),
        }
    }

    /// On how many live instances, in words.
    pub(super) fn where_in_force(&self) -> String {
        let all = self.instances.as_deref().unwrap_or_default();
        let live = || {
            all.iter()
                .filter(|there| there.state == InstanceState::Live)
        };
        let (total, here) = (
            live().count(),
            live().filter(|there| there.in_force).count(),
        );
        let not_live = match all.len() - total {
            0 => String::new(),
            n => format!(", {n} not live"),
        };
        format!("in force on {here} of {total} live instances{not_live}; `sshkeyd krl show`")
    }
}

impl There {
    fn of(instance: &Instance, krl: &Krl) -> Self {
        let status = instance.status.as_ref();
        let certificates = status.and_then(|status| status.certificates.as_ref());
        let krl_version = certificates.and_then(|of| of.krl_version);
        Self {
            id: instance.id,
            label: clean(&instance.label, CELL),
            state: instance.state,
            certificates: certificates.is_some(),
            krl_version,
            proved_krl: certificates.and_then(|of| of.proved_krl),
            in_force: krl_version.is_some_and(|version| version >= krl.version),
        }
    }

    fn words(&self) -> String {
        let proved = match self.proved_krl {
            Some(version) if Some(version) == self.krl_version => ", seen to refuse",
            _ => "",
        };
        match (self.certificates, self.krl_version) {
            (false, _) => "not in force: it keeps no certificates".to_owned(),
            (true, None) => "not in force; see its conditions".to_owned(),
            (true, Some(_)) if self.in_force => format!("in force{proved}"),
            (true, Some(version)) => format!("an older one is: {version}{proved}"),
        }
    }
}

/// For a person's eyes.
pub(super) fn show(shown: &Shown, out: &mut Output) {
    let made = shown.generated_at.map(|at| format!(", made {at:.0}"));
    out.line(&format!(
        "list {}{}, {} bytes",
        shown.version,
        made.unwrap_or_default(),
        shown.size
    ));
    for (count, one, many) in [
        (
            shown.serials,
            "certificate by serial",
            "certificates by serial",
        ),
        (
            shown.key_ids,
            "key ID of certificates",
            "key IDs of certificates",
        ),
        (shown.keys, "key", "keys"),
    ] {
        let what = if count == 1 { one } else { many };
        out.line(&format!("  {count:>6} {what}"));
    }
    let Some(instances) = &shown.instances else {
        out.note("where it is in force is not known: instances are not shown to this API key");
        return;
    };
    let row = |there: &There| {
        [
            there.id.to_string(),
            there.label.clone(),
            state_word(there.state).to_owned(),
            there.words(),
        ]
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    out.table(["ID", "LABEL", "INSTANCE", "LIST"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Signer;
    use serde_json::json;

    fn instance(id: i64, state: &str, certificates: serde_json::Value) -> Instance {
        serde_json::from_value(json!({
            "id": id, "label": "web\u{1b}[31m", "state": state,
            "created_at": "2026-11-22T19:00:00Z", "last_seen": null, "revision": null,
            "status": {"version": "0", "instance": id, "state": "ok", "certificates": certificates}
        }))
        .unwrap()
    }

    #[test]
    fn the_list_is_counted_and_each_instance_says_where_it_stands() {
        let mut krl = Krl {
            version: 42,
            ..Krl::default()
        };
        let of = krl.of_ca(&Signer::from_seed(&[7; 32]).public());
        of.serials.insert_range(5..=9);
        of.serials.insert(20);
        of.key_ids.insert(b"1/7/3".to_vec());
        of.key_ids.insert(b"1/probe/42".to_vec());
        let instances = [
            instance(1, "live", json!({"krl_version": 42, "proved_krl": 42})),
            instance(2, "live", json!({"krl_version": 41, "proved_krl": 41})),
            instance(3, "live", json!({})),
            instance(4, "offline", json!({"krl_version": 43})),
            instance(5, "live", serde_json::Value::Null),
        ];
        let shown = Shown::of(&krl, 99, Some(&instances));
        assert_eq!(
            (
                shown.serials,
                shown.serial_ranges,
                shown.key_ids,
                shown.keys
            ),
            (6, 2, 1, 0)
        );
        assert!(
            shown
                .where_in_force()
                .starts_with("in force on 1 of 4 live instances, 1 not live"),
            "{}",
            shown.where_in_force()
        );
        let (mut out, seen) = Output::captured();
        show(&shown, &mut out);
        let text = seen.out();
        for words in [
            "list 42, 99 bytes",
            "live      in force, seen to refuse",
            "live      an older one is: 41, seen to refuse",
            "live      not in force; see its conditions",
            "offline   in force",
            "live      not in force: it keeps no certificates",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
