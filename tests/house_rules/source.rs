//! A source file as a flat list of tokens, and the questions the rules ask of it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One token; a group's brackets are tokens of their own. `::` is two.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// How many inline modules (`mod x { … }`) it stands in.
    pub(crate) inner_modules: usize,
    /// Whether it stands in a `#[cfg(test)]` module, or in a file of one (`tests.rs`, `tests/`).
    pub(crate) in_test: bool,
    pub(crate) is_literal: bool,
}

pub(crate) struct File {
    /// From the repository's root.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The module it is, from the crate's root: empty for main.rs and lib.rs.
    pub(crate) module: Vec<String>,
    pub(crate) tokens: Vec<Token>,
}

/// Every source file of the image.
pub(crate) fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a source file can be read");
    paths
        .iter()
        .map(|path| {
            File::parse(
                &path
                    .strip_prefix(root)
                    .expect("it is under the root")
                    .to_string_lossy(),
                &read(path),
            )
        })
        .collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("src/ can be listed") {
        let path = entry.expect("src/ can be listed").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

impl File {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let module: Vec<String> = path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .split('/')
            .filter(|part| !["mod", "lib", "main"].contains(part))
            .map(String::from)
            .collect();
        let stream = TokenStream::from_str(text).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        let mut tokens = Vec::new();
        flatten(
            stream,
            0,
            module.iter().any(|name| name == "tests"),
            &mut tokens,
        );
        Self {
            path: path.into(),
            text: text.into(),
            module,
            tokens,
        }
    }

    pub(crate) fn line_count(&self) -> usize {
        self.text.lines().count()
    }

    /// The rooms that paths from the crate's root lead to, `super::` chains that reach it included, with lines.
    pub(crate) fn crate_paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let start = &self.tokens[at];
            let mut depth = self.module.len() + start.inner_modules;
            let mut next = at;
            match start.text.as_str() {
                "crate" => (depth, next) = (0, at + 1),
                "super" => {
                    while self.text_at(next) == "super" && depth > 0 {
                        (depth, next) = (depth - 1, next + 1);
                        if self.text_at(next + 2) == "super" {
                            next += 2;
                        }
                    }
                }
                _ => {}
            }
            // Only a path that has climbed to the crate's root names a room.
            if next > at && depth == 0 && self.text_at(next) == ":" && self.text_at(next + 1) == ":"
            {
                self.rooms_named_at(next + 2, start.line, &mut found);
            }
            at = next.max(at + 1);
        }
        found
    }

    /// Reads `room…` or `{room…, room…}`.
    fn rooms_named_at(&self, at: usize, line: usize, found: &mut Vec<(usize, String)>) {
        if self.text_at(at) != "{" {
            found.push((line, self.text_at(at).into()));
            return;
        }
        let mut depth = 0;
        for token in at..self.tokens.len() {
            match self.text_at(token) {
                "{" => depth += 1,
                "}" => depth -= 1,
                name if depth == 1 && ["{", ","].contains(&self.text_at(token - 1)) => {
                    found.push((self.tokens[token].line, name.into()));
                }
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// Names of the types defined here, outside tests; `Error` of src/error is the one that may carry a failure.
    pub(crate) fn defined_types(&self) -> Vec<String> {
        let defines = |text: &str| ["struct", "enum", "union", "type"].contains(&text);
        let pairs = self
            .tokens
            .windows(2)
            .filter(|pair| !pair[0].in_test && defines(&pair[0].text));
        pairs
            .map(|pair| pair[1].text.clone())
            .filter(|name| name != "Error")
            .collect()
    }
}

/// The second argument of every `Result<_, _>`, and what every `type Error =` stands for, with lines.
pub(crate) fn result_errors(tokens: &[Token]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for at in 0..tokens.len().saturating_sub(3) {
        let text = |offset: usize| tokens[at + offset].text.as_str();
        if (text(0), text(1), text(2)) == ("type", "Error", "=") {
            let error = tokens[at + 3..]
                .iter()
                .take_while(|token| token.text != ";");
            found.push((
                tokens[at].line,
                error.map(|token| token.text.clone()).collect(),
            ));
        }
        if (text(0), text(1)) != ("Result", "<") {
            continue;
        }
        let (mut depth, mut argument, mut error) = (0, 0, Vec::new());
        for (i, token) in tokens[at + 1..].iter().enumerate() {
            // The `>` of `->` closes nothing.
            let arrow = token.text == ">" && tokens[at + i].text == "-";
            match token.text.as_str() {
                "<" | "(" | "[" | "{" => depth += 1,
                ">" | ")" | "]" | "}" if !arrow => depth -= 1,
                "," if depth == 1 => {
                    argument += 1;
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if argument == 1 {
                error.push(token.text.clone());
            }
        }
        // One argument: an alias that brings its own error, judged where it is defined.
        if !error.is_empty() {
            found.push((tokens[at].line, error));
        }
    }
    found
}

fn flatten(stream: TokenStream, inner_modules: usize, in_test: bool, into: &mut Vec<Token>) {
    let push = |text: String, line: usize, is_literal: bool, into: &mut Vec<Token>| {
        into.push(Token {
            text,
            line,
            inner_modules,
            in_test,
            is_literal,
        });
    };
    let mut after_cfg_test = false;
    for tree in stream {
        let line = tree.span().start().line;
        let group = match tree {
            TokenTree::Group(group) => group,
            TokenTree::Literal(literal) => {
                push(literal.to_string(), line, true, into);
                continue;
            }
            other => {
                push(other.to_string(), line, false, into);
                continue;
            }
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        let is_module = into.len() >= 2 && into[into.len() - 2].text == "mod" && open == "{";
        push(open.into(), line, false, into);
        let test_here = in_test || (after_cfg_test && open == "{");
        if open == "[" && group.stream().to_string().replace(' ', "") == "cfg(test)" {
            after_cfg_test = true;
        } else if open == "{" {
            after_cfg_test = false;
        }
        flatten(
            group.stream(),
            inner_modules + usize::from(is_module),
            test_here,
            into,
        );
        push(close.into(), group.span_close().start().line, false, into);
    }
}
