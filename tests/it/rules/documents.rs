//! Links in documents lead somewhere.

use std::collections::BTreeSet;

use super::{Source, expect_none, root, sources};

/// The documents: every Markdown file outside of hidden directories.
fn documents() -> Vec<Source> {
    let found = sources("", |name| name.ends_with(".md"));
    assert!(found.len() >= 5, "only {} documents found", found.len());
    found
}

/// The text without blocks of code, where brackets mean something else.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where the links of a text lead, `](TARGET)`.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    after.filter_map(|rest| rest.split(')').next()).collect()
}

/// The names by which a document's headings are linked.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter_map(|letter| match letter {
                ' ' => Some('-'),
                letter if letter.is_alphanumeric() || letter == '-' || letter == '_' => {
                    Some(letter)
                }
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut offences = Vec::new();
    let mut followed = 0;
    for document in documents() {
        let text = prose(&document.text);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let own = root().join(&document.name);
            let target = match (path, own.parent()) {
                ("", _) => own,
                (path, Some(beside)) => beside.join(path),
                (_, None) => continue,
            };
            let there = match std::fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&prose(&text)).contains(anchor),
                Err(_) => anchor.is_empty() && target.exists(),
            };
            if !there {
                offences.push(format!("{}: {link}", document.name));
            }
        }
    }
    assert!(followed >= 5, "only {followed} links found");
    expect_none("these links lead nowhere", &offences);
}
