//! The boot arguments that the code takes, by its tokens, and those that the README lists.

use std::collections::BTreeSet;

use crate::source::{File, Token};

/// Where boot arguments are taken by name, each in a `match` of a function `set`.
const MATCHED_IN: [&str; 2] = ["src/kernel/settings.rs", "src/net/config.rs"];
/// Where they are rows of a table, and the words that stand before a row's name.
const LISTED_IN: &str = "src/app/cache_server/parameters.rs";
const ROW_BEGINS: [[&str; 2]; 3] = [["number", "("], ["memory", "("], ["name", ":"]];

/// What the code takes. Settings that can only be what they are (`fixed`) are none.
pub(crate) fn in_code(files: &[File]) -> BTreeSet<String> {
    let literal = |token: &Token| {
        // Of literals, text only: a number may stand before an arrow too.
        token
            .text
            .starts_with('"')
            .then(|| token.text.trim_matches('"').into())
    };
    let mut keys = BTreeSet::new();
    for file in files {
        let tokens: Vec<&Token> = file.tokens.iter().filter(|token| !token.in_test).collect();
        if MATCHED_IN.contains(&file.path.as_str()) {
            let body = tokens
                .windows(2)
                .position(|two| two[0].text == "fn" && two[1].text == "set");
            let body = &tokens[body.expect("boot arguments are taken by `fn set`")..];
            let arm = |three: &[&Token]| {
                (three[1].text == "=" && three[2].text == ">").then(|| literal(three[0]))
            };
            keys.extend(body.windows(3).filter_map(arm).flatten());
        } else if file.path == LISTED_IN {
            let row = |three: &[&Token]| {
                let begins = ROW_BEGINS.contains(&[&three[0].text, &three[1].text]);
                begins.then(|| literal(three[2]))
            };
            keys.extend(tokens.windows(3).filter_map(row).flatten());
        }
    }
    keys
}

/// What the README lists: the first cell of a row is `nos.KEY=VALUE`.
pub(crate) fn in_readme(readme: &str) -> BTreeSet<String> {
    let key = |line: &str| Some(line.strip_prefix("| `nos.")?.split_once('=')?.0.to_string());
    readme.lines().filter_map(key).collect()
}
