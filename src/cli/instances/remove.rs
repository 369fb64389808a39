//! `instances remove INSTANCE`: lets an instance go.
//!
//! Owns the two questions: whether the keys go with it, and whether it is meant. Refuses to choose
//! for a person, and to wait for an answer where nobody is.

use super::found;
use crate::cli::ask::Person;
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::Output;
use crate::cli::remote::{Remote, RemoteArgs};
use crate::client::clean;
use crate::wire::InstanceState;

const WHICH: &str = "say whether the keys there go with it: --take-keys or --keep-keys";
const SURE: &str = "nobody to ask whether that is meant; give --yes";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Its id or its label
    #[arg(value_name = "INSTANCE")]
    instance: String,
    /// Its agent takes out every key that it wrote, before it goes
    #[arg(long, conflicts_with = "keep_keys")]
    take_keys: bool,
    /// The keys stay in its files as they are, and nobody changes them any more
    #[arg(long)]
    keep_keys: bool,
    /// Its agent also ends the sessions that were opened with those keys
    #[arg(long, requires = "take_keys")]
    end_sessions: bool,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What was chosen.
struct Chosen {
    instance: String,
    keys: Option<bool>,
    end_sessions: bool,
    yes: bool,
}

/// Runs it.
pub(super) async fn run(args: Args, out: &mut Output) -> Result<Exit, Failed> {
    let keys = match (args.take_keys, args.keep_keys) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let chosen = Chosen {
        instance: args.instance,
        keys,
        end_sessions: args.end_sessions,
        yes: args.yes,
    };
    remove(&args.remote.open()?, chosen, &mut Person::here()?, out).await
}

async fn remove(
    remote: &Remote,
    chosen: Chosen,
    person: &mut Person,
    out: &mut Output,
) -> Result<Exit, Failed> {
    // What cannot be asked is said before anything is looked up.
    if chosen.keys.is_none() && !person.is_there() {
        return Err(Failed::new(Exit::Usage, WHICH));
    }
    if !chosen.yes && !person.is_there() {
        return Err(Failed::new(Exit::Usage, SURE));
    }
    let instance = found(remote, &chosen.instance).await?;
    let named = format!(
        "instance {} \"{}\"",
        instance.id,
        clean(&instance.label, 64)
    );
    let take_keys = match chosen.keys {
        Some(take) => take,
        None => {
            let question = format!("Take our keys out of {named} before it goes?");
            person.agrees(&question, WHICH)?
        }
    };
    let fate = if take_keys { "taken out" } else { "left there" };
    if !chosen.yes {
        let question = format!("Remove {named}, with its keys {fate}?");
        if !person.agrees(&question, SURE)? {
            out.note("nothing was removed");
            return Ok(Exit::NotDone);
        }
    }
    let call = remote.remove_instance(instance.id, take_keys, chosen.end_sessions);
    remote.ask(call).await?;
    let when = match (instance.state, take_keys) {
        (InstanceState::Never, _) => "; no agent had enrolled",
        (InstanceState::Live, true) => "; its agent takes the keys out now",
        (InstanceState::Live, false) => "; its keys are left there",
        (_, true) => "; its agent takes the keys out when it is next heard",
        (_, false) => "; its keys are left there, and its agent is told when it is next heard",
    };
    out.line(&format!("removed {named}{when}"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::exit_of;
    use crate::client::canned::{Canned, Reply};

    const OFFLINE: &str = r#"{"id":12,"label":"web1","state":"offline","revision":null,
        "created_at":"2026-11-22T19:00:00Z","last_seen":null,"status":null}"#;

    fn chosen(keys: Option<bool>, yes: bool) -> Chosen {
        Chosen {
            instance: "web1".to_owned(),
            keys,
            end_sessions: keys == Some(true),
            yes,
        }
    }

    #[tokio::test]
    async fn where_nobody_can_be_asked_both_answers_are_to_be_given() {
        // Nothing is called: this port is nobody's.
        let remote = Remote::of_test("http://127.0.0.1:1");
        for (keys, yes, todo) in [(None, true, "--keep-keys"), (Some(true), false, "--yes")] {
            let (mut out, _seen) = Output::captured();
            let end = remove(&remote, chosen(keys, yes), &mut Person::nobody(), &mut out).await;
            let error = end.unwrap_err();
            assert!(error.to_string().contains(todo), "{error}");
            assert_eq!(exit_of(&error.into()), Exit::Usage);
        }
    }

    #[tokio::test]
    async fn what_was_chosen_is_what_is_sent() {
        let replies = vec![
            Reply::json(&format!(r#"{{"items":[{OFFLINE}],"next":null}}"#)),
            Reply::new("204 No Content", &[], ""),
        ];
        let server = Canned::plain(replies).await;
        let remote = Remote::of_test(&server.url);
        let (mut out, seen) = Output::captured();
        let chosen = chosen(Some(true), true);
        let end = remove(&remote, chosen, &mut Person::nobody(), &mut out).await;
        assert_eq!(end.unwrap(), Exit::Done);
        let told = "removed instance 12 \"web1\"; its agent takes the keys out when it is next \
                    heard\n";
        assert_eq!(seen.out(), told);
        let asked = server.requests().await.remove(1);
        let line = "DELETE /v1/instances/12?take_keys=true&end_sessions=true HTTP";
        assert!(asked.starts_with(line), "{asked}");
    }
}
