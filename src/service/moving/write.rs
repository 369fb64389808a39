//! Rows on their way into an export.

use super::super::store::moving::{Cell, Head, Sink, Steps, Table};
use super::super::store::{CopyError, Hash};
use super::{EndLine, FORMAT, HeadLine, VERSION, base64, hexadecimal};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The lines, and what the last one says of them.
pub(super) struct Lines<W> {
    to: W,
    /// Of the sealing key, where the database does not say.
    tag: Option<Hash>,
    seen: Sha256,
    rows: BTreeMap<String, u64>,
}

impl<W: Write + Send> Lines<W> {
    pub(super) fn new(to: W, tag: Option<Hash>) -> Self {
        Self {
            to,
            tag,
            seen: Sha256::new(),
            rows: BTreeMap::new(),
        }
    }

    /// The last line; gives how many rows there are.
    pub(super) fn end(mut self) -> io::Result<u64> {
        let end = EndLine {
            rows: std::mem::take(&mut self.rows),
            sha256: hexadecimal(&self.seen.clone().finalize()),
        };
        let line = serde_json::to_vec(&end)?;
        self.line(line)?;
        self.to.flush()?;
        Ok(end.rows.values().sum())
    }

    fn line(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        self.seen.update(&line);
        self.to.write_all(&line)
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn head(&mut self, head: &Head) -> Result<(), CopyError> {
        let line = HeadLine {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema: Steps::OURS,
            sealed_by: head.tag.or(self.tag).map(|tag| base64(&tag)),
            tables: head.tables.clone(),
            numbers: head.numbers.clone(),
        };
        for table in &head.tables {
            self.rows.insert(table.name.clone(), 0);
        }
        let line = serde_json::to_vec(&line).map_err(io::Error::from)?;
        Ok(self.line(line)?)
    }

    fn row(&mut self, table: &Table, cells: &[Cell]) -> Result<(), CopyError> {
        let mut row = vec![Value::String(table.name.clone())];
        row.extend(cells.iter().map(|cell| match cell {
            Cell::Null => Value::Null,
            Cell::Integer(number) => Value::from(*number),
            Cell::Text(text) => Value::String(text.clone()),
            Cell::Blob(bytes) => json!({ "base64": base64(bytes) }),
        }));
        let line = serde_json::to_vec(&row).map_err(io::Error::from)?;
        self.line(line)?;
        if let Some(count) = self.rows.get_mut(&table.name) {
            *count += 1;
        }
        Ok(())
    }
}
