//! Rows out of an export, none of which counts before the last line was read.

use super::super::store::moving::{Cell, Head, Origin, Steps};
use super::super::store::{CopyError, Hash};
use super::{EndLine, FORMAT, HeadLine, LINE, VERSION, hexadecimal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};

/// The lines, and what was read of them.
pub(super) struct Lines<'a> {
    from: BufReader<&'a mut (dyn Read + Send)>,
    number: u64,
    seen: Sha256,
    head: Head,
    rows: BTreeMap<String, u64>,
}

impl<'a> Lines<'a> {
    /// Reads the head.
    pub(super) fn begin(from: &'a mut (dyn Read + Send)) -> Result<Self, CopyError> {
        let mut lines = Self {
            from: BufReader::new(from),
            number: 0,
            seen: Sha256::new(),
            head: Head {
                tables: Vec::new(),
                numbers: BTreeMap::new(),
                tag: None,
            },
            rows: BTreeMap::new(),
        };
        let line = lines.line()?;
        lines.seen.update(&line);
        let head = serde_json::from_slice::<Value>(&line);
        let head = head.ok().filter(|head| head["format"] == FORMAT);
        let head = head.ok_or_else(|| damaged("not an export of sshkeyd's"))?;
        if head.get("version") != Some(&Value::from(VERSION)) {
            return Err(damaged(
                "of another version of the format; use that sshkeyd",
            ));
        }
        let head: HeadLine = serde_json::from_value(head)
            .map_err(|error| CopyError::Damaged(format!("line 1: {error}")))?;
        same_schema(head.schema, &head.program)?;
        let tag = head.sealed_by.map(|text| tag(&text)).transpose()?;
        lines.rows = head.tables.iter().map(|t| (t.name.clone(), 0)).collect();
        lines.head = Head {
            tables: head.tables,
            numbers: head.numbers,
            tag,
        };
        Ok(lines)
    }

    pub(super) fn tag(&self) -> Option<Hash> {
        self.head.tag
    }

    /// How many rows were read.
    pub(super) fn rows(&self) -> u64 {
        self.rows.values().sum()
    }

    /// The next line, with its end.
    fn line(&mut self) -> Result<Vec<u8>, CopyError> {
        self.number += 1;
        let mut line = Vec::new();
        (&mut self.from).take(LINE).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(damaged(match line.is_empty() {
                true => "cut off: there is no end line",
                false => "cut off in the middle of a line",
            }));
        }
        Ok(line)
    }

    fn wrong(&self, what: &str) -> CopyError {
        CopyError::Damaged(format!("line {}: {what}", self.number))
    }

    fn row(&self, row: Vec<Value>) -> Result<(usize, Vec<Cell>), CopyError> {
        let mut cells = row.into_iter();
        let name = cells.next();
        let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
        let table = self.head.tables.iter().position(|table| table.name == name);
        let at = table.ok_or_else(|| self.wrong("a row of no table"))?;
        let cells: Option<Vec<Cell>> = cells.map(cell).collect();
        let cells = cells.ok_or_else(|| self.wrong("a value of no kind"))?;
        match self.head.tables.get(at) {
            Some(table) if table.columns.len() == cells.len() => Ok((at, cells)),
            _ => Err(self.wrong("not one value a column")),
        }
    }

    fn end(&mut self, line: &[u8]) -> Result<(), CopyError> {
        let end: EndLine =
            serde_json::from_slice(line).map_err(|_| self.wrong("neither a row nor the end"))?;
        if end.sha256 != hexadecimal(&self.seen.clone().finalize()) {
            return Err(damaged(
                "changed since it was written: its SHA-256 is another",
            ));
        }
        if end.rows != self.rows {
            return Err(damaged("there are not as many rows as its end says"));
        }
        if !self.from.fill_buf()?.is_empty() {
            return Err(damaged("there is something behind its end"));
        }
        Ok(())
    }
}

impl Origin for Lines<'_> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn next(&mut self) -> Result<Option<(usize, Vec<Cell>)>, CopyError> {
        let line = self.line()?;
        if line.first() != Some(&b'[') {
            self.end(&line)?;
            return Ok(None);
        }
        self.seen.update(&line);
        let row = serde_json::from_slice(&line).map_err(|_| self.wrong("not a row"))?;
        let (at, cells) = self.row(row)?;
        let name = self.head.tables.get(at).map(|table| table.name.as_str());
        if let Some(count) = self.rows.get_mut(name.unwrap_or_default()) {
            *count += 1;
        }
        Ok(Some((at, cells)))
    }
}

/// A dump goes into the schema that it came out of, and no other: one way, and no guess.
fn same_schema(theirs: Steps, program: &str) -> Result<(), CopyError> {
    let ours = Steps::OURS;
    if theirs == ours {
        return Ok(());
    }
    let todo = if theirs.sqlite > ours.sqlite || theirs.postgres > ours.postgres {
        "import it with that version or a newer one of the same schema".to_owned()
    } else {
        format!(
            "import it with sshkeyd {program}, then start this version on it, which brings the \
             database up to date; or start this version on the old database once, and export again"
        )
    };
    Err(CopyError::Damaged(format!(
        "exported by sshkeyd {program}, whose schema is another; {todo}"
    )))
}

fn cell(value: Value) -> Option<Cell> {
    Some(match value {
        Value::Null => Cell::Null,
        Value::Number(number) => Cell::Integer(number.as_i64()?),
        Value::String(text) => Cell::Text(text),
        Value::Object(object) if object.len() == 1 => {
            Cell::Blob(STANDARD.decode(object.get("base64")?.as_str()?).ok()?)
        }
        _ => return None,
    })
}

fn tag(text: &str) -> Result<Hash, CopyError> {
    let bytes = STANDARD.decode(text).ok();
    let tag = bytes.and_then(|bytes| Hash::try_from(bytes).ok());
    tag.ok_or_else(|| damaged("line 1: sealed_by is no MAC"))
}

fn damaged(what: &str) -> CopyError {
    CopyError::Damaged(what.to_owned())
}
