//! The names of a host certificate: set by the service, never by an agent (interface.md section 5).

/// What every instance's own name ends in, and so what people's machines trust the CA for.
const OURS: &str = "sshkeyd";
/// The longest host name (RFC 1035, section 2.3.4), and the longest part of one.
const MAX_NAME: usize = 253;
const MAX_PART: usize = 63;

/// `instance-ID.sshkeyd`, and the label where it is a host name that no other instance of the
/// account has.
pub(super) fn names(instance: i64, label: &str, label_is_unique: bool) -> Vec<String> {
    let mut names = vec![format!("instance-{instance}.{OURS}")];
    names.extend(host_name(label).filter(|_| label_is_unique));
    names
}

/// A label in lower case, where it can stand as a host name: no address, and nothing under the
/// name that instances have by their ids.
pub(super) fn host_name(label: &str) -> Option<String> {
    let name = label.to_ascii_lowercase();
    let is_part = |part: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let (first, last) = (part.as_bytes().first(), part.as_bytes().last());
        part.len() <= MAX_PART
            && part.bytes().all(plain)
            && [first, last].iter().all(|b| b.is_some_and(|b| *b != b'-'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    // A last part of digits alone is an address, whatever else stands there.
    let is_address = last.bytes().all(|b| b.is_ascii_digit());
    let looks_like_an_id = name
        .strip_prefix("instance-")
        .and_then(|rest| rest.split('.').next())
        .is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()));
    let is_good = name.len() <= MAX_NAME
        && name.split('.').all(is_part)
        && !is_address
        && last != OURS
        && !looks_like_an_id;
    is_good.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_a_host_name_stands_beside_the_instances_own() {
        for (label, unique, more) in [
            ("web-1", true, Some("web-1")),
            ("Web-1.Example.COM", true, Some("web-1.example.com")),
            ("web-1", false, None),
            ("my laptop", true, None),
            ("", true, None),
        ] {
            let mut wanted = vec!["instance-12.sshkeyd".to_owned()];
            wanted.extend(more.map(str::to_owned));
            assert_eq!(names(12, label, unique), wanted, "{label}");
        }
    }

    #[test]
    fn what_is_no_host_name_or_anothers_is_none() {
        let long = format!("{}.a", "x".repeat(64));
        let longer = ["abc"; 64].join(".");
        for label in [
            "instance-13.sshkeyd",
            "INSTANCE-13.SSHKEYD",
            "instance-13",
            "instance-13.example.com",
            "a.sshkeyd",
            "sshkeyd",
            "web.sshkeyd",
            "*",
            "*.sshkeyd",
            "a*",
            "a?b",
            "!a",
            "a,b",
            "a b",
            "a_b",
            "ä",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "10.0.0.1",
            "1",
            "web.1",
            "a:22",
            "[::1]",
            "::1",
            "a/b",
            "a\nb",
            "a\0",
            &long,
            &longer,
        ] {
            assert_eq!(host_name(label), None, "{label}");
        }
        assert!(
            host_name("instance-of-mine").is_some() && host_name("sshkeyd.example.com").is_some()
        );
    }
}
