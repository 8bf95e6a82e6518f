//! The known name that somebody probably meant.

/// Letters that anybody may get wrong, however short the name.
const SLIPS: usize = 2;
/// So many letters are enough to tell a name by its beginning.
const BEGINNING: usize = 3;

/// The one of `known` with the fewest letters to change; `None` when none is near: more than two
/// letters and a third of the text are others, or all of it, and it is not how the name begins.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Whoever writes a page instead of a name gets any answer soon.
    let letters: Vec<char> = text.chars().take(64).collect();
    let begins = |name: &str| letters.len() >= BEGINNING && name.starts_with(text);
    let most = SLIPS.max(letters.len() / 3).min(letters.len().saturating_sub(1));
    let near = known.into_iter().map(|name| (distance(&letters, name), name));
    near.filter(|(distance, name)| *distance <= most || begins(name))
        .min_by_key(|(distance, name)| (!begins(name), *distance))
        .map(|(_, name)| name)
}

/// The end of a sentence about an unknown name: what was probably meant, and else nothing.
pub(crate) fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(": did you mean `{name}`?"))
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
        assert_eq!(nearest("upstream_lat", known), Some("upstream_latency"));
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn what_is_far_fetched_is_not_meant() {
        let known = ["upstream_latency", "reload", "a_b"];
        for text in ["", "x", "a", "gremlins", "rel oaded often", "../../etc/passwd"] {
            assert_eq!(nearest(text, known), None, "{text}");
        }
    }
}
