//! From text to the file's shape, with every fault of syntax, key and type at once.
//!
//! Serde stops at its first error. So the entry that an error points at is cut out of the parsed
//! table and the rest is read again, until it passes. What was cut is remembered, so that it is not
//! called missing afterwards.

use super::fault::{Fault, Text};
use super::suggest;
use super::syntax::blank_faulty_lines;
use serde::Deserialize;
use serde_spanned::Spanned;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

/// More faults than a person reads; a file with more is not the file that was meant.
pub(super) const MAX_FAULTS: usize = 100;

/// What could be read of a file.
pub(super) struct Recovered<T> {
    pub(super) file: T,
    pub(super) faults: Vec<Fault>,
    pub(super) cut: Cuts,
}

/// The keys that were cut out, by the place of their table.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    keys: BTreeSet<(usize, String)>,
    /// Lines with a fault of syntax: what stands there now is a guess of the parser.
    lines: BTreeSet<usize>,
}

impl Cuts {
    /// Whether a key of the table at `table` was there but was cut, or may have been there.
    pub(super) fn had(&self, table: &Range<usize>, key: &str) -> bool {
        !self.lines.is_empty() || self.keys.contains(&(table.start, key.to_owned()))
    }

    /// Whether this key was cut from any table, or may have been.
    pub(super) fn had_anywhere(&self, key: &str) -> bool {
        !self.lines.is_empty() || self.keys.iter().any(|(_, k)| k == key)
    }

    /// From here on nothing is known to be missing.
    fn give_up(&mut self) {
        self.lines.insert(0);
    }

    /// The first line with a fault of syntax, from 1.
    pub(super) fn first_guessed(&self) -> Option<usize> {
        self.lines.iter().copied().find(|line| *line > 0)
    }

    /// Whether the line has a fault of syntax.
    pub(super) fn guessed(&self, line: usize) -> bool {
        self.lines.contains(&line)
    }
}

/// The place that stands for the file's own table.
pub(super) const ROOT: Range<usize> = usize::MAX..usize::MAX;

/// Reads as much of `text` as has the shape of `T`.
pub(super) fn read<T: for<'de> Deserialize<'de> + Default>(text: Text<'_>) -> Recovered<T> {
    let mut out = Recovered {
        file: T::default(),
        faults: Vec::new(),
        cut: Cuts::default(),
    };
    let Some(source) = blank_faulty_lines(text, &mut out.faults, &mut out.cut.lines) else {
        return out;
    };
    let (mut table, _) = DeTable::parse_recoverable(&source);
    lists_for_tables(text, table.get_mut(), &ROOT, &mut out.faults, &mut out.cut);
    loop {
        if out.faults.len() >= MAX_FAULTS {
            out.cut.give_up();
            break;
        }
        let error = match T::deserialize(Deserializer::from(table.clone())) {
            Ok(file) => {
                out.file = file;
                break;
            }
            Err(error) => error,
        };
        let cut = error
            .span()
            .and_then(|span| cut_table(table.get_mut(), &ROOT, &span).map(|cut| (span, cut)));
        let Some((span, cut)) = cut else {
            let todo = "correct it".to_owned();
            let span = error.span().unwrap_or(0..0);
            out.faults
                .push(text.fault(&span, error.message().to_owned(), todo));
            out.cut.give_up();
            break;
        };
        let (what, todo, meant) = shape(&cut, error.message());
        if !out.cut.guessed(text.line_of(span.start)) {
            out.faults.push(text.fault(&span, what, todo));
        }
        for key in meant.into_iter().chain([cut.key]) {
            out.cut.keys.insert((cut.table.start, key));
        }
    }
    out
}

/// Serde would read a list as a table, its items in the order of the fields; so lists that stand
/// for tables are cut first.
fn lists_for_tables(
    text: Text<'_>,
    table: &mut DeTable<'_>,
    place: &Range<usize>,
    faults: &mut Vec<Fault>,
    cut: &mut Cuts,
) {
    let mut bad = Vec::new();
    for (key, value) in table.iter_mut() {
        let (name, span) = (key.get_ref().as_ref(), value.span());
        let list_of_tables = suggest::LISTS.contains(&name);
        let good = match value.get_mut() {
            DeValue::Table(inner) => {
                lists_for_tables(text, inner, &span, faults, cut);
                true
            }
            DeValue::Array(items) => {
                let mut flat = true;
                for item in items.iter_mut() {
                    let span = item.span();
                    match item.get_mut() {
                        DeValue::Table(inner) => lists_for_tables(text, inner, &span, faults, cut),
                        DeValue::Array(_) => flat = false,
                        _ => {}
                    }
                }
                if list_of_tables {
                    flat
                } else {
                    !suggest::TABLES.contains(&name) || (name == "sshd" && *place != ROOT)
                }
            }
            _ => true,
        };
        if !good {
            let todo = match list_of_tables {
                true => format!("write [[{name}]] once for each {name}"),
                false if *place == ROOT => format!("write it once, as [{name}]"),
                false => format!("write its keys as {name}.KEY = …"),
            };
            faults.push(text.fault(&span, format!("\"{name}\" is a list"), todo));
            cut.keys.insert((place.start, name.to_owned()));
            bad.push(key.clone());
        }
    }
    for key in bad {
        table.remove(&key);
    }
}

/// What is wrong with an entry that was cut, what to do, and the key that it was meant to be.
fn shape(cut: &Cut, message: &str) -> (String, String, Option<String>) {
    if let Some(expected) = message.strip_prefix("unknown field ") {
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).skip(1).collect();
        let (todo, meant) = suggest::instead_of(&cut.key, &known);
        let what = format!("unknown key \"{}\"", cut.key);
        return (what, todo, meant.map(str::to_owned));
    }
    let wanted = message.rsplit_once(", expected ").map_or("", |(_, w)| w);
    let is = match cut.kind {
        "table" => "a table",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a number",
        "float" => "a fraction",
        _ => "a date",
    };
    let what = match cut.item {
        false => format!("\"{}\" is {is}", cut.key),
        true => format!("an item of \"{}\" is {is}", cut.key),
    };
    let todo = match (wanted, cut.key.as_str()) {
        ("a sequence", key @ ("source" | "target")) => {
            format!("write [[{key}]] with two brackets, once for each {key}")
        }
        ("a sequence", _) => "write a list: [\"…\", \"…\"]".to_owned(),
        ("a boolean", _) => "write true or false, without quotes".to_owned(),
        ("a string", "poll-interval" | "interval" | "session-lifetime") => {
            "write a duration in quotes: \"30s\", \"5m\", \"12h\" or \"7d\"".to_owned()
        }
        ("a string", _) => "write text in quotes".to_owned(),
        ("u64", _) => "write a whole number from 0, without quotes".to_owned(),
        ("a table", key) => format!("write its keys as {key}.KEY = …, or under a header"),
        _ => "remove it".to_owned(),
    };
    (what, todo, None)
}

/// An entry that was cut: the place of its table, its key, whether only one item of its list, and
/// the kind of the value.
struct Cut {
    table: Range<usize>,
    key: String,
    item: bool,
    kind: &'static str,
}

/// Cuts the entry whose key or value stands at `at`; the deepest one.
fn cut_table(table: &mut DeTable<'_>, place: &Range<usize>, at: &Range<usize>) -> Option<Cut> {
    let mut hit = None;
    for (key, value) in table.iter_mut() {
        let span = value.span();
        if let Some(cut) = cut_inside(key.get_ref(), value.get_mut(), &span, place, at) {
            return Some(cut);
        }
        if key.span() == *at || span == *at {
            hit = Some((key.clone(), value.get_ref().type_str()));
        }
    }
    let (key, kind) = hit?;
    table.remove(&key);
    Some(Cut {
        table: place.clone(),
        key: key.into_inner().into_owned(),
        item: false,
        kind,
    })
}

fn cut_inside(
    key: &str,
    value: &mut DeValue<'_>,
    span: &Range<usize>,
    place: &Range<usize>,
    at: &Range<usize>,
) -> Option<Cut> {
    match value {
        DeValue::Table(table) => cut_table(table, span, at),
        DeValue::Array(array) => {
            let mut rest = DeArray::new();
            let mut cut = None;
            for item in array.iter() {
                let mut item: Spanned<DeValue<'_>> = item.clone();
                let inner = item.span();
                if cut.is_none() {
                    cut = cut_inside(key, item.get_mut(), &inner, place, at);
                    // The span of a list of tables is that of its first header.
                    if cut.is_none() && inner == *at && !item.get_ref().is_table() {
                        cut = Some(Cut {
                            table: place.clone(),
                            key: key.to_owned(),
                            item: true,
                            kind: item.get_ref().type_str(),
                        });
                        continue;
                    }
                }
                rest.push(item);
            }
            *array = rest;
            cut
        }
        _ => None,
    }
}
