//! A Rust file as words: what it imports and names, without comments, strings and guesses.
//!
//! Owns as much of the grammar as arrows need: `use` trees, `super`, inline modules, `#[cfg(test)]`.
//! Refuses to understand macros: what stands inside one counts like anything else.

/// One path that a file names, every brace list taken apart.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) line: usize,
    /// The segments as written: `std`, `fs`, `File`.
    pub(crate) path: Vec<String>,
    /// The crate's own folder that this leads to; empty for the root itself.
    pub(crate) folder: Option<String>,
    /// Whether it stands in a `use` or an `extern crate`.
    pub(crate) imports: bool,
    /// Whether it stands under `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

/// What a file names.
pub(crate) struct Source {
    tokens: Vec<Token>,
    pub(crate) uses: Vec<Use>,
    /// Ways round the module tree: `include!`, `#[path]`.
    pub(crate) escapes: Vec<(usize, String)>,
    /// Modules (as `folder/name`) that this file declares for tests only.
    pub(crate) test_modules: Vec<String>,
}

#[derive(Debug, Clone)]
struct Token {
    line: usize,
    text: String,
    in_test: bool,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

impl Source {
    /// Reads a file; `path` is relative to `src` and says which module it is.
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let mut tokens = tokens(text);
        let module = module_of(path);
        let test_modules = mark_tests(&mut tokens)
            .into_iter()
            .map(|name| [&module[..], &[name]].concat().join("/"))
            .collect();
        let escapes = escapes(&tokens);
        let mut source = Self {
            tokens,
            uses: Vec::new(),
            escapes,
            test_modules,
        };
        source.collect(module);
        source
    }

    /// Every word outside of tests: its line, itself, and whether a `!` follows.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.tokens.iter().enumerate().filter_map(|(at, token)| {
            let bang = self.text(at + 1) == "!";
            (token.is_word() && !token.in_test).then_some((token.line, &*token.text, bang))
        })
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| &t.text)
    }

    fn collect(&mut self, mut module: Vec<String>) {
        // The depths at which inline modules began.
        let mut inline = Vec::new();
        let (mut depth, mut at, mut imports) = (0_usize, 0, false);
        while at < self.tokens.len() {
            let before = if at == 0 { "" } else { self.text(at - 1) };
            match self.text(at) {
                "{" => {
                    depth += 1;
                    if at >= 2 && self.text(at - 2) == "mod" {
                        inline.push(depth);
                        module.push(before.to_owned());
                    }
                }
                "}" => {
                    if inline.last() == Some(&depth) {
                        inline.pop();
                        module.pop();
                    }
                    depth = depth.saturating_sub(1);
                }
                ";" => imports = false,
                "use" => imports = true,
                "crate" if before == "extern" => imports = true,
                _ if self.begins_path(at) => {
                    at = self.tree(at, &[], &module, imports);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// A word that no `::` or `.` ties to something before it; a leading `::` ties to nothing.
    fn begins_path(&self, at: usize) -> bool {
        let before = |n: usize| at.checked_sub(n).map_or("", |i| self.text(i));
        let continues =
            |text: &str| text == ">" || text.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let tied = before(1) == "." || (before(1) == "::" && continues(before(2)));
        self.tokens[at].is_word() && !tied
    }

    /// Reads one path or tree from `at`, and says where it ends.
    fn tree(
        &mut self,
        mut at: usize,
        prefix: &[String],
        module: &[String],
        imports: bool,
    ) -> usize {
        let mut path = prefix.to_vec();
        let first = at.min(self.tokens.len() - 1);
        loop {
            if self.text(at) == "{" {
                at += 1;
                while !matches!(self.text(at), "}" | "") {
                    let next = self.tree(at, &path, module, imports);
                    at = next.max(at + 1);
                    if self.text(at) == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            path.push(self.text(at).to_owned());
            at += 1;
            let goes_on = self.text(at) == "::"
                && self
                    .tokens
                    .get(at + 1)
                    .is_some_and(|t| t.is_word() || matches!(&*t.text, "{" | "*"));
            if !goes_on {
                break;
            }
            at += 1;
        }
        if imports && self.text(at) == "as" {
            at += 2;
        }
        let Token { line, in_test, .. } = self.tokens[first];
        // In a tree, `self` is what stands before the braces.
        if path.len() > 1 && path.last().is_some_and(|s| s == "self") {
            path.pop();
        }
        let folder = resolve(&path, module);
        self.uses.push(Use {
            line,
            path,
            folder,
            imports,
            in_test,
        });
        at
    }
}

/// The first segment below the crate's root that a path leads to.
fn resolve(path: &[String], module: &[String]) -> Option<String> {
    let mut here = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    let mut rest = path
        .iter()
        .skip_while(|s| matches!(s.as_str(), "crate" | "self" | "super"));
    for segment in path
        .iter()
        .take_while(|s| matches!(s.as_str(), "crate" | "self" | "super"))
    {
        if segment == "super" {
            here.pop();
        }
    }
    here.extend(rest.next().cloned());
    Some(here.into_iter().next().unwrap_or_default())
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if matches!(path, "lib" | "main") {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

/// Marks what stands under `#[cfg(test)]`, and names the modules that are declared there.
fn mark_tests(tokens: &mut [Token]) -> Vec<String> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut declared = Vec::new();
    let mut at = 0;
    while at + CFG_TEST.len() <= tokens.len() {
        let here = &tokens[at..at + CFG_TEST.len()];
        if !here
            .iter()
            .zip(CFG_TEST)
            .all(|(token, text)| token.text == text)
        {
            at += 1;
            continue;
        }
        let (mut depth, mut end, mut tree) = (0_i32, at, false);
        while let Some(token) = tokens.get_mut(end) {
            token.in_test = true;
            let text = token.text.clone();
            tree |= text == "use";
            depth += match text.as_str() {
                "{" | "(" | "[" => 1,
                "}" | ")" | "]" => -1,
                _ => 0,
            };
            if depth == 0 && (text == ";" || (text == "}" && !tree)) {
                break;
            }
            end += 1;
        }
        if end >= 2
            && end < tokens.len()
            && tokens[end].text == ";"
            && tokens[end - 2].text == "mod"
        {
            declared.push(tokens[end - 1].text.clone());
        }
        at = end + 1;
    }
    declared
}

fn escapes(tokens: &[Token]) -> Vec<(usize, String)> {
    let found = tokens.windows(3).filter_map(|window| {
        let [a, b, c] = window else { return None };
        let what = match (&*a.text, &*b.text, &*c.text) {
            ("include", "!", _) => "include! goes round the folders",
            ("[", "path", "=") => "#[path] goes round the folders",
            _ => return None,
        };
        Some((a.line, what.to_owned()))
    });
    found.collect()
}

/// Words, `::`, and single marks; comments are gone, a string or a character is `""`.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let (start, first_line) = (i, line);
        let c = at(i);
        let mut kept = None;
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some(end) = raw_string(&chars, i).or_else(|| quoted(&chars, i)) {
            i = end;
            kept = Some("\"\"".to_owned());
        } else if c.is_alphanumeric() || c == '_' {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            kept = Some(chars[start..i].iter().collect());
        } else if c == ':' && at(i + 1) == ':' {
            i += 2;
            kept = Some("::".to_owned());
        } else {
            i += 1;
            kept = (!c.is_whitespace()).then(|| c.to_string());
        }
        line += chars[start..i.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
        if let Some(text) = kept {
            let in_test = false;
            tokens.push(Token {
                line: first_line,
                text,
                in_test,
            });
        }
    }
    tokens
}

/// The end of `r"…"`, `r#"…"#`, `br"…"`, `cr"…"` at `i`, if one begins there.
fn raw_string(chars: &[char], mut i: usize) -> Option<usize> {
    if matches!(chars.get(i), Some('b' | 'c')) {
        i += 1;
    }
    if chars.get(i) != Some(&'r') {
        return None;
    }
    i += 1;
    let hashes = chars[i..].iter().take_while(|c| **c == '#').count();
    i += hashes;
    if chars.get(i) != Some(&'"') {
        return None;
    }
    loop {
        i += 1;
        let closes = *chars.get(i)? == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
        if closes {
            return Some(i + hashes + 1);
        }
    }
}

/// The end of a string or a character at `i`, if one begins there; a lifetime is neither.
fn quoted(chars: &[char], mut i: usize) -> Option<usize> {
    if matches!(chars.get(i), Some('b' | 'c')) && matches!(chars.get(i + 1), Some('"' | '\'')) {
        i += 1;
    }
    let mark = *chars.get(i).filter(|c| matches!(c, '"' | '\''))?;
    if mark == '\'' && chars.get(i + 1) != Some(&'\\') && chars.get(i + 2) != Some(&'\'') {
        return None;
    }
    loop {
        i += 1;
        match *chars.get(i)? {
            '\\' => i += 1,
            c if c == mark => return Some(i + 1),
            _ => {}
        }
    }
}
