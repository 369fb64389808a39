//! What an API key may do, as a person says it: a file, or categories by name.
//!
//! Owns reading the file, the same that the `vastai` client takes. Refuses what is no object of
//! JSON; what a tree means is the service's to say.

use crate::cli::exit::{Exit, Failed};
use serde_json::{Map, Value, json};
use std::io::Read as _;

/// Largest file of permissions.
const MAX_FILE: u64 = 64 * 1024;
/// The categories of a tree.
const CATEGORIES: [&str; 11] = [
    "instance_read",
    "instance_write",
    "user_read",
    "user_write",
    "billing_read",
    "billing_write",
    "machine_read",
    "machine_write",
    "misc",
    "team_read",
    "team_write",
];

#[derive(Debug, clap::Args)]
pub(super) struct PermissionArgs {
    /// What it may do: a file with a permission tree, - for standard input; by default everything
    #[arg(long, value_name = "FILE", conflicts_with = "allow")]
    permissions: Option<String>,
    /// A category of what it may do, as in user_read; may be given again for another
    #[arg(long, value_name = "CATEGORY", value_parser = CATEGORIES)]
    allow: Vec<String>,
}

impl PermissionArgs {
    /// The tree; none where nothing was said.
    ///
    /// # Errors
    /// 1: the file cannot be read, or is no tree.
    pub(super) fn tree(&self) -> Result<Option<Value>, Failed> {
        let Some(file) = &self.permissions else {
            let categories = self.allow.iter();
            let tree: Map<String, Value> =
                categories.map(|name| (name.clone(), json!({}))).collect();
            return Ok((!tree.is_empty()).then(|| json!({ "api": tree })));
        };
        let fault = |what: String| {
            let todo = r#"name a JSON file such as {"api": {"user_read": {}}}"#;
            Failed::new(Exit::NotDone, format!("{file}: {what}; {todo}"))
        };
        let mut bytes = Vec::new();
        match file.as_str() {
            "-" => std::io::stdin()
                .lock()
                .take(MAX_FILE + 1)
                .read_to_end(&mut bytes),
            path => std::fs::File::open(path)
                .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)),
        }
        .map_err(|error| fault(error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(fault("over 64 KiB".to_owned()));
        }
        match serde_json::from_slice(&bytes) {
            Ok(tree @ Value::Object(_)) => Ok(Some(tree)),
            Ok(_) => Err(fault("no object".to_owned())),
            Err(error) => Err(fault(error.to_string())),
        }
    }
}
