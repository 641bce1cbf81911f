//! Writes what COMMAND INFO and COMMAND DOCS tell of a command, in Redis' shapes.

use super::document::{Argument, Document, Documents, KeySpec, arguments};
use super::{COMMANDS, Command};
use crate::app::cache_server::reply::Reply;

/// The ACL categories, in Redis' order.
pub(super) const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The categories of a command: those named, and those that its flags bring.
pub(super) fn categories(document: Document<'_>) -> impl Iterator<Item = &'static str> + Clone {
    let is = move |flag: &str| document.words("!").any(|word| word == flag);
    CATEGORIES.into_iter().filter(move |&category| {
        let by_flags = match category {
            "read" => is("readonly"),
            "slow" => !is("fast"),
            "dangerous" => is("admin"),
            "write" | "admin" | "fast" | "blocking" => is(category),
            _ => false,
        };
        by_flags || document.words("@").any(|word| word == category)
    })
}

/// Writes all commands but subcommands.
pub(super) fn describe_all(reply: &mut Reply<'_>, documents: &Documents) {
    reply.array(COMMANDS.len());
    let mut documents = documents.all();
    COMMANDS
        .iter()
        .for_each(|command| describe(reply, command, &mut documents));
}

/// Writes one command or subcommand.
pub(super) fn describe_one(reply: &mut Reply<'_>, documents: &Documents, command: &Command) {
    describe(reply, command, &mut documents.from(command.name));
}

/// Writes the ten facts of a command; its document and those of its subcommands are next.
fn describe<'a>(
    reply: &mut Reply<'_>,
    command: &Command,
    documents: &mut dyn Iterator<Item = Document<'a>>,
) {
    let Some(document) = documents.next() else {
        return reply.null_array();
    };
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    statuses(reply, "", document.words("!"));
    reply.integer(i64::from(command.keys.first));
    reply.integer(i64::from(command.keys.last));
    reply.integer(i64::from(command.keys.step));
    statuses(reply, "@", categories(document));
    reply.set(document.lines("^").count());
    document
        .lines("^")
        .for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(document.key_specs().count());
    document
        .key_specs()
        .for_each(|spec| describe_keys(reply, &spec));
    if command.subcommands.is_empty() {
        return reply.set(0);
    }
    reply.array(command.subcommands.len());
    command
        .subcommands
        .iter()
        .for_each(|subcommand| describe(reply, subcommand, documents));
}

/// Writes a set of statuses.
fn statuses<'a>(reply: &mut Reply<'_>, prefix: &str, words: impl Iterator<Item = &'a str> + Clone) {
    reply.set(words.clone().count());
    words.for_each(|word| reply.raw(&[b"+", prefix.as_bytes(), word.as_bytes(), b"\r\n"]));
}

fn describe_keys(reply: &mut Reply<'_>, spec: &KeySpec<'_>) {
    reply.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = spec.notes {
        pair(reply, "notes", notes);
    }
    reply.bulk(b"flags");
    statuses(reply, "", spec.flags.split_ascii_whitespace());
    let [first, ranges @ ..] = spec.numbers;
    reply.bulk(b"begin_search");
    reply.map(2);
    pair(reply, "type", "index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(i64::from(first));
    reply.bulk(b"find_keys");
    reply.map(2);
    pair(reply, "type", "range");
    reply.bulk(b"spec");
    reply.map(3);
    for (name, number) in ["lastkey", "keystep", "limit"].into_iter().zip(ranges) {
        reply.bulk(name.as_bytes());
        reply.integer(i64::from(number));
    }
}

fn pair(reply: &mut Reply<'_>, key: &str, value: &str) {
    reply.bulk(key.as_bytes());
    reply.bulk(value.as_bytes());
}

/// Writes the documentation of all commands.
pub(super) fn document_all(reply: &mut Reply<'_>, documents: &Documents) {
    reply.map(COMMANDS.len());
    let mut documents = documents.all();
    COMMANDS
        .iter()
        .for_each(|command| document(reply, command, &mut documents));
}

/// Writes the documentation of one command or subcommand, its name first.
pub(super) fn document_one(reply: &mut Reply<'_>, documents: &Documents, command: &Command) {
    document(reply, command, &mut documents.from(command.name));
}

fn document<'a>(
    reply: &mut Reply<'_>,
    command: &Command,
    documents: &mut dyn Iterator<Item = Document<'a>>,
) {
    reply.bulk(command.name.as_bytes());
    let Some(document) = documents.next() else {
        return reply.map(0);
    };
    let texts = [
        ("summary", document.lines("=").next()),
        ("since", Some(document.since())),
        ("group", Some(document.group())),
        ("complexity", document.complexity()),
    ];
    let deprecated = [
        ("deprecated_since", document.lines("-").next()),
        ("replaced_by", document.lines("+").next()),
    ];
    let all = texts.iter().chain(&deprecated);
    let told = all.filter(|(_, text)| text.is_some()).count();
    let lists = ["$", "*", "%"].map(|mark| document.lines(mark).next());
    let listed = lists.iter().flatten().count();
    reply.map(told + listed + usize::from(!command.subcommands.is_empty()));
    let write = |reply: &mut Reply<'_>, texts: &[(&str, Option<&str>)]| {
        for (key, text) in texts {
            text.iter().for_each(|text| pair(reply, key, text));
        }
    };
    write(reply, &texts);
    if lists[0].is_some() {
        reply.bulk(b"doc_flags");
        statuses(reply, "", document.words("$"));
    }
    write(reply, &deprecated);
    if lists[1].is_some() {
        reply.bulk(b"history");
        reply.set(document.lines("*").count());
        for line in document.lines("*") {
            let (version, text) = line.split_once(' ').unwrap_or((line, ""));
            reply.array(2);
            pair(reply, version, text);
        }
    }
    if let Some(words) = lists[2] {
        document_arguments(reply, words);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for subcommand in command.subcommands {
            self::document(reply, subcommand, documents);
        }
    }
}

fn document_arguments(reply: &mut Reply<'_>, words: &str) {
    reply.bulk(b"arguments");
    reply.array(arguments(words).count());
    for (argument, parts) in arguments(words) {
        document_argument(reply, &argument, parts);
    }
}

fn document_argument(reply: &mut Reply<'_>, argument: &Argument<'_>, parts: &str) {
    let texts = [
        ("token", argument.token),
        ("since", argument.since),
        ("deprecated_since", argument.deprecated_since),
    ];
    let told = texts.iter().filter(|(_, text)| text.is_some()).count();
    let has_flags = argument.flags().next().is_some();
    let others = [argument.key_spec.is_some(), has_flags, !parts.is_empty()];
    reply.map(2 + told + others.into_iter().filter(|&is_there| is_there).count());
    pair(reply, "name", argument.name);
    pair(reply, "type", argument.kind);
    if let Some(spec) = argument.key_spec {
        reply.bulk(b"key_spec_index");
        reply.integer(spec);
    }
    for (key, text) in texts {
        text.iter().for_each(|text| pair(reply, key, text));
    }
    if has_flags {
        reply.bulk(b"flags");
        statuses(reply, "", argument.flags());
    }
    if !parts.is_empty() {
        document_arguments(reply, parts);
    }
}
