//! What the story is played on: service, SSH server and agent, all in this process, all real.

use super::Scratch;
use super::ssh_server::SshServer;
use crate::agent;
use crate::client::{Api, Http, HttpOptions};
use crate::config::{self, AgentConfig, Database, ServerConfig};
use crate::keys::PublicKey;
use crate::service::{self, Service};
use crate::sys::signals::Signal;
use crate::sys::{clock, private_file, users};
use crate::wire::NewInstance;
use anyhow::{Context as _, anyhow};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// The owner of the one account.
const EMAIL: &str = "you@demo.invalid";

/// Everything that runs.
pub struct Stage {
    /// Where the service listens.
    pub url: String,
    /// Who signs in to the console there.
    pub email: &'static str,
    /// With this password, made for this stage.
    pub password: Zeroizing<String>,
    /// The account's API key.
    pub api_key: Zeroizing<String>,
    /// The service, as the account's owner.
    pub api: Api,
    /// Where the SSH server listens.
    pub ssh: SocketAddr,
    /// Its host key.
    pub host_key: PublicKey,
    /// The local user who runs all this.
    pub user: String,
    /// The file that the agent keeps and the SSH server obeys.
    pub authorized_keys: PathBuf,
    /// The agent's configuration file.
    pub agent_file: PathBuf,
    /// Where the agent listens.
    pub control_socket: PathBuf,
    stop: watch::Sender<bool>,
    wish: mpsc::Sender<Signal>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Stage {
    /// Starts all of it.
    ///
    /// # Errors
    /// In words, with what could not be had.
    pub async fn set(scratch: &Scratch) -> anyhow::Result<Self> {
        let dir = scratch.path();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();

        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let service = Service::open(&ServerConfig {
            listen: listener.local_addr()?,
            public_url: url.clone(),
            database: Database::Sqlite(dir.join("service.db")),
            secrets_dir: dir.join("secrets"),
            tls: None,
            danger_plaintext: false,
            max_held: 100,
            trusted_proxies: Vec::new(),
            sign_up: false,
            session_lifetime: std::time::Duration::from_secs(7 * 24 * 60 * 60),
            reveal_api_keys: true,
            install_dir: None,
        })?;
        let password = password();
        let account = service.add_account(EMAIL, Some(password.clone())).await?;
        let until = done(stopped.clone());
        tasks.push(tokio::spawn(async move {
            Ok(service::serve(service, listener, None, until).await?)
        }));
        let http = Http::try_new(&HttpOptions::default())?;
        let api = Api::try_new(http, &url, Some(account.api_key.clone()))?;

        let authorized_keys = dir.join("authorized_keys");
        let until = done(stopped.clone());
        let server = SshServer::start(authorized_keys.clone(), clock::now, until).await?;
        let host_key_file = dir.join("ssh_host_ed25519_key.pub");
        private_file::replace(&host_key_file, format!("{}\n", server.host_key).as_bytes())?;

        let uid = users::current_uid();
        let user = users::lookup_uid(uid)?
            .ok_or_else(|| anyhow!("uid {uid} is no local user, and keys are for local users"))?
            .name;
        let new = NewInstance {
            label: "demo".to_owned(),
        };
        let token = api.create_instance(&new).await?.enroll_token;
        private_file::replace(&dir.join("enroll-token"), token.as_bytes())?;
        let agent_file = dir.join("agent.toml");
        let text = agent_toml(dir, &url, &user, server.address);
        private_file::replace(&agent_file, text.as_bytes())?;
        let config = config::agent_from_str(&text, &agent_file, &|_| None)?;
        let control_socket = config.control_socket.clone();
        let (wish, wishes) = mpsc::channel(1);
        tasks.push(tokio::spawn(run_agent(config, wishes)));

        Ok(Self {
            url,
            email: EMAIL,
            password,
            api_key: account.api_key,
            api,
            ssh: server.address,
            host_key: server.host_key,
            user,
            authorized_keys,
            agent_file,
            control_socket,
            stop,
            wish,
            tasks,
        })
    }

    /// Stops the agent, then the rest.
    ///
    /// # Errors
    /// What ended one of them before its time.
    pub async fn clear(self) -> anyhow::Result<()> {
        // Whoever does not listen any more has ended already, and says why below.
        let _ = self.wish.send(Signal::Stop).await;
        let mut tasks = self.tasks;
        let agent = tasks.pop().context("the agent was started last")?;
        agent.await??;
        let _ = self.stop.send(true);
        for task in tasks {
            task.await??;
        }
        Ok(())
    }
}

/// A password that can be read off a screen and typed: 80 bits. It is no part of any address, since
/// those are kept by browsers and shown to others.
fn password() -> Zeroizing<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut text = Zeroizing::new(String::with_capacity(19));
    for place in 0..16 {
        if place > 0 && place % 4 == 0 {
            text.push('-');
        }
        let letter = usize::from(rand::random::<u8>() % 32);
        text.push(LETTERS.get(letter).copied().map_or('a', char::from));
    }
    text
}

async fn run_agent(config: AgentConfig, wishes: mpsc::Receiver<Signal>) -> anyhow::Result<()> {
    let same = config.clone();
    let load = move || Ok(same.clone());
    Ok(agent::run(config, None, &load, wishes).await?)
}

async fn done(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The agent's file, as anybody would write it for such a place.
fn agent_toml(dir: &Path, url: &str, user: &str, sshd: SocketAddr) -> String {
    let quoted = |path: &str| format!("{:?}", dir.join(path).display().to_string());
    format!(
        "[agent]\nstate-dir = {state}\ncontrol-socket = {socket}\n\n\
         [[source]]\nname = \"account\"\naccount.urls = [{url:?}]\n\
         account.enroll-token-file = {token}\n\n\
         [[target]]\nuser = {user:?}\nsources = [\"account\"]\npath = {keys}\n\n\
         [verify]\nsshd = \"{sshd}\"\n\n\
         [certificates]\nuser-ca = false\nhost-certificates = false\nsshd = {none}\nhost-keys = [{host_key}]\n\n\
         [sessions]\nreport = false\nend-on-revoke = \"never\"\n",
        state = quoted("state"),
        socket = quoted("run/agent.sock"),
        token = quoted("enroll-token"),
        // A path of a target has tokens (`%h`).
        keys = quoted("authorized_keys").replace('%', "%%"),
        none = quoted("no-sshd-here"),
        host_key = quoted("ssh_host_ed25519_key.pub"),
    )
}
