//! What the default application is built on: the part of the library that an application of one's own can use.

use crate::source::File;

/// Where the default application stands.
const APPLICATION: &str = "src/app/cache_server/";

/// The rooms of that part, and in each the names after the room's; none for the whole room.
const API: [(&str, &[&str]); 8] = [
    (
        "app",
        &[
            "Application",
            "Environment",
            "Incarnation",
            "Page",
            "Parts",
            "Power",
            "Survivor",
            "cache_server",
        ],
    ),
    ("cache", &[]),
    ("error", &[]),
    ("memory", &["copy_short", "frames"]),
    ("metrics", &[]),
    ("net", &["service", "http"]),
    ("platform", &["boot_arguments", "crc32c", "time"]),
    ("storage", &[]),
];

/// The paths of the application that lead elsewhere, each with its place.
pub(crate) fn violations(files: &[File]) -> Vec<String> {
    let own = files
        .iter()
        .filter(|file| file.path.starts_with(APPLICATION));
    let elsewhere = own.flat_map(|file| {
        let paths = paths(file);
        let foreign = paths
            .into_iter()
            .filter(|(_, room, name)| !is_api(room, name));
        foreign.map(|(line, room, name)| format!("{}:{line}: crate::{room}::{name}", file.path))
    });
    elsewhere.collect()
}

fn is_api(room: &str, name: &str) -> bool {
    API.iter()
        .any(|(known, names)| *known == room && (names.is_empty() || names.contains(&name)))
}

/// Room and next name of every path from the crate's root, with its line; of `room::{a, b}` each name.
pub(crate) fn paths(file: &File) -> Vec<(usize, String, String)> {
    let text = |at: usize| file.tokens.get(at).map_or("", |token| token.text.as_str());
    let leads_on = |at: usize| text(at) == ":" && text(at + 1) == ":";
    let mut found = Vec::new();
    for (at, token) in file.tokens.iter().enumerate() {
        if token.in_test || token.text != "crate" || !leads_on(at + 1) {
            continue;
        }
        // `pub(in crate::app)` says who may see it, and uses nothing.
        if at > 0 && text(at - 1) == "in" {
            continue;
        }
        let room = text(at + 3);
        if !leads_on(at + 4) {
            // `crate::{…}` too: it has to be written out to be judged.
            found.push((token.line, room.into(), String::new()));
        } else if text(at + 6) != "{" {
            found.push((token.line, room.into(), text(at + 6).into()));
        } else {
            let mut depth = 0;
            for inner in at + 6..file.tokens.len() {
                match text(inner) {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    name if depth == 1 && ["{", ","].contains(&text(inner - 1)) => {
                        found.push((token.line, room.into(), name.into()));
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
    }
    found
}
