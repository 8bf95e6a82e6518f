//! The known name that somebody probably meant.

/// The one of `known` with the fewest letters to change; `None` when there is none to choose from.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Whoever writes a page instead of a name gets any answer soon.
    let text: Vec<char> = text.chars().take(64).collect();
    known.into_iter().min_by_key(|name| distance(&text, name))
}

/// Levenshtein's distance, one row at a time.
fn distance(text: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=text.len()).collect();
    for (at, letter) in name.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in text.iter().enumerate() {
            let replaced = diagonal + usize::from(*other != letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_change_wins() {
        let known = ["upstream_latency", "upstream_loss", "restart"];
        assert_eq!(nearest("upstream_los", known), Some("upstream_loss"));
        assert_eq!(nearest("restrat", known), Some("restart"));
        assert_eq!(nearest("", known), Some("restart"));
        assert_eq!(nearest("x", []), None);
    }
}
