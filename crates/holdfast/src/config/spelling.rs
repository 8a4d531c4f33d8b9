//! "Did you mean": the known key nearest to one nobody knows.

use super::keys::{Branch, tree};

/// Longest key for which a neighbour is sought; no real key comes near it.
const MAX_LENGTH: usize = 40;

/// A half sentence with the key that was probably meant, or nothing.
pub(super) fn hint(key: &str, branch: &Branch, path: &str) -> String {
    if key.len() > MAX_LENGTH {
        return String::new();
    }
    let lower = key.to_lowercase();
    let sibling = branch
        .children
        .iter()
        .map(|child| (distance(&lower, child.name), child.name))
        .filter(|(steps, name)| *steps <= allowed(name))
        .min();
    if let Some((_, name)) = sibling {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}.")
        };
        return format!("; did you mean {prefix}{name}?");
    }
    let mut elsewhere = Vec::new();
    search(tree(), &lower, String::new(), &mut elsewhere);
    match elsewhere.as_slice() {
        [only] => format!("; did you mean {only}?"),
        _ => String::new(),
    }
}

/// Collects the places at which a key of exactly this name exists.
fn search(branch: &Branch, name: &str, path: String, found: &mut Vec<String>) {
    for child in &branch.children {
        let here = super::check::join(&path, child.name);
        if child.name == name {
            found.push(here.clone());
        }
        search(child, name, here, found);
    }
}

/// How many slips of the finger a key of this length may suffer and still be recognised.
fn allowed(name: &str) -> usize {
    match name.len() {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    }
}

/// Insertions, removals, replacements and swaps of neighbours that lead from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for row in 1..=from.len() {
        let mut current = vec![row];
        for column in 1..=to.len() {
            let replaced = last[column - 1] + usize::from(from[row - 1] != to[column - 1]);
            let mut best = replaced.min(last[column] + 1).min(current[column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && from[row - 1] == to[column - 2]
                && from[row - 2] == to[column - 1];
            if swapped {
                let before: &Vec<usize> = &before_last;
                best = best.min(before[column - 2] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, steps) in [
            ("", "", 0),
            ("addr", "addr", 0),
            ("adr", "addr", 1),
            ("adrd", "addr", 1),
            ("host", "cost", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), steps, "{from} {to}");
        }
    }

    #[test]
    fn hints_look_beside_then_elsewhere() {
        let http = tree().child("http").unwrap();
        assert_eq!(hint("adrr", http, "http"), "; did you mean http.addr?");
        assert_eq!(
            hint("relativeURLs", http, "http"),
            "; did you mean http.relativeurls?"
        );
        assert_eq!(hint("rootdirectori", tree(), ""), "");
        assert_eq!(
            hint("draintimeout", tree(), ""),
            "; did you mean http.draintimeout?"
        );
        assert_eq!(hint("zzz", tree(), ""), "");
        assert_eq!(hint(&"x".repeat(5000), tree(), ""), "");
    }
}
