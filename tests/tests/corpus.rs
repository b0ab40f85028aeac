//! The fuzz targets' corpus, and all messages at hand, through the oracles of the fuzz targets. It needs no fuzzer.

use sluice_tests::{CANONICAL, canonical, corpora, files_below, golden, oracles};
use std::panic;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target));
    assert!(!files.is_empty(), "the corpus of {target} is in the tree");
    files
}

/// Runs `oracle` over every input, and names those that fail.
fn all_pass(inputs: impl IntoIterator<Item = (String, Vec<u8>)>, oracle: fn(&[u8])) {
    let mut failed = Vec::new();
    for (name, input) in inputs {
        if panic::catch_unwind(|| oracle(&input)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn named(files: Vec<(PathBuf, Vec<u8>)>) -> impl Iterator<Item = (String, Vec<u8>)> {
    files.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes))
}

#[test]
fn the_corpus_of_parse_passes() {
    all_pass(named(corpus("parse")), oracles::parse);
}

#[test]
fn the_corpus_of_forward_passes() {
    all_pass(named(corpus("forward")), oracles::forward);
}

/// Canonical messages, the last message of every vector, and the torture messages, by every flow.
#[test]
fn all_messages_pass() {
    let mut messages: Vec<_> = CANONICAL.map(|(name, ..)| (name.to_owned(), canonical(name))).into();
    messages.extend(golden("").into_iter().map(|vector| (vector.name.clone(), vector.run().0)));
    match corpora() {
        Some(folder) => messages.extend(named(files_below(&folder))),
        None => println!("skipped: the torture messages, which are not here"),
    }
    all_pass(messages.iter().cloned(), oracles::parse);
    let by_every_flow = messages.iter().flat_map(|(name, bytes)| {
        (0..8).map(move |flow| (format!("{name} by flow {flow}"), [&[flow], &bytes[..]].concat()))
    });
    all_pass(by_every_flow, oracles::forward);
}
