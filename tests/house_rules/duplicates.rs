//! Finds pairs of functions that share a long run of tokens, names and literals left out.

use std::collections::{BTreeMap, HashMap};

use super::source::File;

/// The shortest shared run worth a reader's look, in tokens: about eight lines.
const RUN: usize = 70;

struct Function {
    place: String,
    shape: Vec<String>,
}

/// Every pair that shares a run of [`RUN`] tokens, the longest first.
pub(crate) fn pairs(files: &[File]) -> Vec<String> {
    let functions: Vec<Function> = files.iter().flat_map(functions).collect();
    let mut seen: HashMap<&[String], usize> = HashMap::new();
    let mut shared: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (index, function) in functions.iter().enumerate() {
        for run in function.shape.windows(RUN) {
            let first = *seen.entry(run).or_insert(index);
            if first != index {
                *shared.entry((first, index)).or_default() += 1;
            }
        }
    }
    let mut rows: Vec<(usize, String)> = shared
        .into_iter()
        .map(|((a, b), runs)| {
            (
                runs + RUN - 1,
                format!("{} and {}", functions[a].place, functions[b].place),
            )
        })
        .collect();
    rows.sort_by(|a, b| b.cmp(a));
    rows.into_iter()
        .map(|(tokens, places)| format!("{tokens} tokens: {places}"))
        .collect()
}

/// The functions of a file, tests left out, each as the shape of its body.
fn functions(file: &File) -> Vec<Function> {
    let tokens = &file.tokens;
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let Some(name) = tokens.get(at + 1) else {
            break;
        };
        // `fn(` is a type.
        if tokens[at].text != "fn" || tokens[at].in_test || name.text == "(" {
            continue;
        }
        // The body is the first brace before a `;` ends a declaration without one.
        let ends = |text: &str| text == "{" || text == ";";
        let Some(open) = (at..tokens.len()).find(|&i| ends(&tokens[i].text)) else {
            continue;
        };
        let mut depth = 0;
        let mut shape = Vec::new();
        for token in &tokens[open..] {
            depth += i32::from(token.text == "{") - i32::from(token.text == "}");
            let is_name = token
                .text
                .starts_with(|c: char| c.is_alphabetic() || c == '_')
                && !is_keyword(&token.text);
            shape.push(if token.is_literal {
                "0".into()
            } else if is_name {
                "x".into()
            } else {
                token.text.clone()
            });
            if depth == 0 {
                break;
            }
        }
        found.push(Function {
            place: format!("{}:{} {}", file.path, tokens[at].line, name.text),
            shape,
        });
    }
    found
}

fn is_keyword(text: &str) -> bool {
    const KEYWORDS: [&str; 14] = [
        "let", "mut", "if", "else", "match", "for", "while", "loop", "return", "break", "continue",
        "fn", "unsafe", "in",
    ];
    KEYWORDS.contains(&text)
}
