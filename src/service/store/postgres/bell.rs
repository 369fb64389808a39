//! Notices between replicas (PostgreSQL, LISTEN and NOTIFY): what one has committed the others know
//! within milliseconds.
//!
//! One connection, one thread. Notices are gathered while one is on its way. A lost one costs a
//! second and no more: the sweep finds what it would have said, so nothing is kept for later and
//! nobody waits here.

use super::super::db::postgres::Way;
use super::super::{Commit, Committed, Kinds};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client};

const CHANNEL: &str = "sshkeyd";

/// Commits that wait to be told; one more is left to the sweep.
const QUEUE: usize = 1_024;

/// Commits of one notice: it takes 8,000 bytes, and none is longer than 100.
const MOST: usize = 64;

/// How long a notice may take.
const TELL: Duration = Duration::from_secs(5);

/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Starts the thread; gives what is to be called after a commit. It ends with the last handle.
pub(super) fn begin(way: Arc<Way>, here: Committed) -> std::io::Result<Committed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (told, mut commits) = mpsc::channel(QUEUE);
    // Not what names this replica to anyone: it knows its own notices by it.
    let name = format!("{:016x}", rand::random::<u64>());
    let ring = here.clone();
    std::thread::Builder::new()
        .name("store-bell".to_owned())
        .spawn(move || runtime.block_on(run(&way, &name, &ring, &mut commits)))?;
    Ok(Arc::new(move |commit| {
        here(commit);
        // Full: the sweep finds it.
        let _ = told.try_send(commit);
    }))
}

async fn run(way: &Way, name: &str, here: &Committed, commits: &mut mpsc::Receiver<Commit>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listen(way, name, here, commits, &mut pause).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(error, "notices of other replicas"),
        }
        let end = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0)));
        tokio::pin!(end);
        // What is committed meanwhile the sweeps of the others find.
        loop {
            tokio::select! {
                () = &mut end => break,
                commit = commits.recv() => if commit.is_none() {
                    return;
                }
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Listens and tells until the connection ends, which is an error, or the last handle is gone.
async fn listen(
    way: &Way,
    name: &str,
    here: &Committed,
    commits: &mut mpsc::Receiver<Commit>,
    pause: &mut Duration,
) -> Result<(), String> {
    let (client, mut connection) = way.dial().await.map_err(|e| e.to_string())?;
    let (heard, mut notices) = mpsc::unbounded_channel();
    // Read beside, so that a notice that is being told does not hold up those that come in.
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notice) = message {
                // The other end goes with this connection.
                let _ = heard.send(notice.payload().to_owned());
            }
        }
    });
    let settings = format!("SET statement_timeout = '10s'; LISTEN {CHANNEL}");
    let ready = tokio::time::timeout(TELL, client.batch_execute(&settings)).await;
    ready
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
    *pause = FIRST_PAUSE;
    let mut some = Vec::with_capacity(MOST);
    loop {
        tokio::select! {
            count = commits.recv_many(&mut some, MOST) => {
                if count == 0 {
                    return Ok(());
                }
                tell(&client, name, &some).await?;
                some.clear();
            }
            notice = notices.recv() => {
                let notice = notice.ok_or("the connection has ended")?;
                for commit in read(&notice, name) {
                    here(commit);
                }
            }
        }
    }
}

async fn tell(client: &Client, name: &str, commits: &[Commit]) -> Result<(), String> {
    let notice = write(name, commits);
    let tell = async {
        client
            .execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &notice])
            .await
    };
    match tokio::time::timeout(TELL, tell).await {
        Ok(told) => told.map(drop).map_err(|e| e.to_string()),
        Err(late) => Err(late.to_string()),
    }
}

/// `NAME 7:5001:-:63 8::a:4`: of each commit the account, the revision, access, kinds.
fn write(name: &str, commits: &[Commit]) -> String {
    let mut text = name.to_owned();
    for commit in commits {
        let revision = commit.revision.map(|number| number.to_string());
        text.push_str(&format!(
            " {}:{}:{}:{}",
            commit.account,
            revision.unwrap_or_default(),
            if commit.access { 'a' } else { '-' },
            commit.kinds.bits(),
        ));
    }
    text
}

/// What another replica says; of a newer one what is understood.
fn read(notice: &str, own: &str) -> Vec<Commit> {
    let mut words = notice.split(' ');
    if words.next() == Some(own) {
        return Vec::new();
    }
    words.filter_map(commit).collect()
}

fn commit(word: &str) -> Option<Commit> {
    let mut parts = word.split(':');
    let account = parts.next()?.parse().ok()?;
    let revision = match parts.next()? {
        "" => None,
        number => Some(number.parse().ok()?),
    };
    let flags = parts.next()?;
    Some(Commit {
        account,
        revision,
        access: flags.contains('a'),
        // Counted where it was done.
        revoked: 0,
        kinds: Kinds::of_bits(parts.next()?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_what_was_committed_and_ones_own_is_not_heard() {
        let commits = [
            Commit::revision(7, 5_001),
            Commit::access(8, Kinds::SESSIONS),
            Commit::of(i64::MAX, Kinds::ALL),
        ];
        let notice = write("me", &commits);
        assert_eq!(read(&notice, "you"), commits);
        assert!(read(&notice, "me").is_empty());
        assert!(read("other 7:x:--:1 nonsense :::", "me").is_empty());
        assert_eq!(read("other 7:1:--:1:new 8", "me").len(), 1);
        let longest = [Commit {
            access: true,
            ..Commit::revision(i64::MIN, u64::MAX)
        }; MOST];
        assert!(write(&"x".repeat(16), &longest).len() < 8_000);
    }
}
