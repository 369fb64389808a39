//! What the files are to say, by what the account sources say: pure.
//!
//! TrustedUserCAKeys holds for the whole machine, so that the CA of one account could sign the
//! principals of another: only one account's CAs are trusted here. What is revoked by any of them
//! is revoked.

use crate::config::Target;
use crate::sinks::sshd_trust::{Merged, Wanted, WantedKrl};
use crate::sources::Trust;
use crate::sync::{Code, Finding};
use crate::trust::Krl;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One account source: its name, and what it says; `None` while it has said nothing.
pub(super) type Said = (String, Option<Arc<Trust>>);

/// Lists of others that are taken in, by whether all of them are here.
pub(super) struct Others<'a> {
    pub(super) lists: Vec<&'a Krl>,
    pub(super) all_here: bool,
    /// What stands in place now.
    pub(super) standing: Option<Krl>,
}

/// What is wanted, and what cannot be.
pub(super) fn wanted(
    said: &[Said],
    targets: &[Target],
    others: &Others<'_>,
) -> (Wanted, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut with_ca = said.iter().filter_map(|(name, trust)| {
        let trust = trust.as_ref().filter(|trust| !trust.user_ca.is_empty())?;
        Some((name, trust))
    });
    let chosen = with_ca.next();
    if let Some((first, _)) = chosen {
        findings.extend(with_ca.map(|(name, _)| {
            let text = format!("the CAs of {first} are trusted here, and of one account only");
            Finding::new(Code::UserCaNotInForce, name, text)
        }));
    }
    let all_known = said.iter().all(|(_, trust)| trust.is_some());
    let wanted = Wanted {
        user_ca: match chosen {
            Some((_, trust)) => Some(trust.user_ca.clone()),
            None => all_known.then(Vec::new),
        },
        principals: chosen.map_or_else(BTreeMap::new, |(name, trust)| {
            principals(name, trust, targets)
        }),
        krl: krl(said, others),
    };
    (wanted, findings)
}

/// Who may log in as whom: users of targets with this source, and nobody else.
fn principals(name: &String, trust: &Trust, targets: &[Target]) -> BTreeMap<String, Vec<String>> {
    let of_it = targets
        .iter()
        .filter(|target| target.sources.contains(name));
    let users: BTreeSet<_> = of_it.map(|target| &target.user).collect();
    let names_of = |user: &String| -> Vec<String> {
        let names = ["*", user.as_str()].map(|key| trust.principals.get(key));
        let all: BTreeSet<_> = names.into_iter().flatten().flatten().cloned().collect();
        all.into_iter().collect()
    };
    let with_names = users.into_iter().map(|user| (user.clone(), names_of(user)));
    with_names.filter(|(_, names)| !names.is_empty()).collect()
}

fn krl(said: &[Said], others: &Others<'_>) -> WantedKrl {
    let here: Vec<_> = said
        .iter()
        .filter_map(|(_, trust)| trust.as_ref()?.krl.clone())
        .collect();
    // One is named and not here, or its source has not said anything.
    let awaited = said.iter().any(|(_, trust)| match trust {
        None => true,
        Some(trust) => trust.named_krl.is_some() && trust.krl.is_none(),
    });
    if here.is_empty() {
        return match awaited {
            true => WantedKrl::AsItStands,
            false => WantedKrl::Nothing,
        };
    }
    let is_whole = !awaited && others.all_here;
    if let ([krl], true, true) = (&*here, is_whole, others.lists.is_empty()) {
        return WantedKrl::Is {
            version: krl.version,
            bytes: Arc::clone(&krl.bytes),
        };
    }
    if !others.all_here && others.standing.is_none() {
        // Ours would go before a list that is not known here.
        return WantedKrl::AsItStands;
    }
    let mut merged = Merged::default();
    // What was read once was brought in by a list that could be.
    let lists = here.iter().filter_map(|krl| Krl::parse(&krl.bytes).ok());
    lists.for_each(|krl| merged.add(&krl));
    others.lists.iter().for_each(|krl| merged.add(krl));
    if let Some(standing) = others.standing.as_ref().filter(|_| !is_whole) {
        // Of what is not here now, it stands for what was.
        merged.add(&Krl {
            version: 0,
            generated_at: 0,
            ..standing.clone()
        });
    }
    let (version, bytes) = merged.encode();
    WantedKrl::Is { version, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Adopt, Method, PathTemplate};
    use crate::sources::HeldKrl;
    use crate::trust::Signer;

    fn target(user: &str, source: &str) -> Target {
        Target {
            user: user.into(),
            sources: vec![source.into()],
            method: Method::Block,
            path: PathTemplate::parse("%h/x").unwrap(),
            adopt: Adopt::No,
            in_place: false,
        }
    }

    fn held(version: u64, revoked: u8) -> Arc<HeldKrl> {
        let key = Signer::from_seed(&[revoked; 32]).public();
        let krl = Krl {
            version,
            sha256: [key.fingerprint()].into(),
            ..Krl::default()
        };
        Arc::new(HeldKrl::parse(krl.encode()).unwrap())
    }

    fn said(name: &str, ca: Option<u8>, krl: Option<Arc<HeldKrl>>) -> Said {
        let cas = ca.map(|seed| Signer::from_seed(&[seed; 32]).public());
        let principals = [
            ("*".to_owned(), vec!["account:1".to_owned()]),
            ("bo".to_owned(), vec!["bo@1".to_owned()]),
        ];
        let trust = Trust {
            user_ca: cas.into_iter().collect(),
            principals: principals.into(),
            named_krl: krl.as_ref().map(|krl| krl.version),
            krl,
        };
        (name.to_owned(), Some(Arc::new(trust)))
    }

    fn none() -> Others<'static> {
        Others {
            lists: Vec::new(),
            all_here: true,
            standing: None,
        }
    }

    fn revokes(krl: &WantedKrl, seeds: &[u8]) -> Vec<bool> {
        let WantedKrl::Is { bytes, .. } = krl else {
            panic!("{krl:?}")
        };
        let krl = Krl::parse(bytes).unwrap();
        let key = |seed: &u8| Signer::from_seed(&[*seed; 32]).public();
        seeds
            .iter()
            .map(|seed| krl.revokes_key(key(seed).blob()))
            .collect()
    }

    #[test]
    fn only_users_of_targets_with_that_source_are_logged_in_as() {
        let targets = [target("al", "a"), target("bo", "a"), target("cy", "vast")];
        let (wanted, findings) = wanted(&[said("a", Some(1), None)], &targets, &none());
        let users: Vec<_> = wanted.principals.iter().collect();
        assert_eq!(users.len(), 2);
        assert_eq!(wanted.principals["al"], ["account:1"]);
        assert_eq!(wanted.principals["bo"], ["account:1", "bo@1"]);
        assert!(findings.is_empty());
        assert_eq!(wanted.krl, WantedKrl::Nothing);
    }

    #[test]
    fn of_two_accounts_one_has_its_ca_trusted_and_both_revoke() {
        let all = [
            said("a", Some(1), Some(held(5, 11))),
            said("b", Some(2), Some(held(7, 12))),
        ];
        let targets = [target("al", "a"), target("bo", "b")];
        let (wanted, findings) = wanted(&all, &targets, &none());
        assert_eq!(wanted.user_ca.as_ref().unwrap().len(), 1);
        assert_eq!(wanted.principals.len(), 1);
        assert_eq!((findings.len(), &*findings[0].about), (1, "b"));
        assert_eq!(revokes(&wanted.krl, &[11, 12, 13]), [true, true, false]);
        assert!(matches!(wanted.krl, WantedKrl::Is { version: 7, .. }));
    }

    #[test]
    fn one_list_alone_is_put_in_place_byte_for_byte() {
        let krl = held(5, 11);
        let (wanted, _) = wanted(&[said("a", None, Some(Arc::clone(&krl)))], &[], &none());
        let is = WantedKrl::Is {
            version: 5,
            bytes: Arc::clone(&krl.bytes),
        };
        assert_eq!(wanted.krl, is);
        assert_eq!(wanted.user_ca, Some(Vec::new()));
    }

    #[test]
    fn what_stands_stays_while_a_source_has_said_nothing() {
        let (all, _) = wanted(&[("a".to_owned(), None)], &[target("al", "a")], &none());
        assert_eq!(all, Wanted::default());
        // Named, and still to be fetched.
        let (name, trust) = said("a", Some(1), None);
        let trust = Trust {
            named_krl: Some(9),
            ..(*trust.unwrap()).clone()
        };
        let (all, _) = wanted(&[(name, Some(Arc::new(trust)))], &[], &none());
        assert_eq!(all.krl, WantedKrl::AsItStands);
        // Of two, one is here: what stands is not forgotten for it.
        let standing = Krl::parse(&held(3, 13).bytes).unwrap();
        let others = Others {
            standing: Some(standing),
            ..none()
        };
        let two = [said("a", None, Some(held(5, 11))), ("b".to_owned(), None)];
        let (all, _) = wanted(&two, &[], &others);
        assert_eq!(revokes(&all.krl, &[11, 13]), [true, true]);
        assert!(matches!(all.krl, WantedKrl::Is { version: 5, .. }));
    }

    #[test]
    fn a_list_of_somebody_elses_is_taken_in_and_never_forgotten() {
        let his = Krl::parse(&held(0, 21).bytes).unwrap();
        let ours = [said("a", None, Some(held(5, 11)))];
        let others = Others {
            lists: vec![&his],
            ..none()
        };
        let (all, _) = wanted(&ours, &[], &others);
        assert_eq!(revokes(&all.krl, &[11, 21]), [true, true]);
        // It cannot be read, and never was: ours would go before it.
        let unread = |standing| Others {
            lists: Vec::new(),
            all_here: false,
            standing,
        };
        let (all, _) = wanted(&ours, &[], &unread(None));
        assert_eq!(all.krl, WantedKrl::AsItStands);
        let (all, _) = wanted(&ours, &[], &unread(Some(his)));
        assert_eq!(revokes(&all.krl, &[11, 21]), [true, true]);
    }
}
