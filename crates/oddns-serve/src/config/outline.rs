//! Where each entry of a YAML text begins and ends, so that one can be taken out and the rest keeps
//! its places.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// Entries of mappings and sequences of one text.
#[derive(Debug)]
pub(super) struct Outline {
    chars: Vec<char>,
    /// Inner ones behind those around them.
    entries: Vec<Entry>,
    /// Scalars that are no keys.
    values: Vec<Value>,
    /// Where the last scalar or bracket ended; what is in block style ends there.
    seen: usize,
}

/// A scalar that is no key.
#[derive(Debug)]
pub(super) struct Value {
    /// Of characters; empty for one that is left out.
    pub(super) range: Range<usize>,
    /// What it says, however that is written.
    pub(super) text: String,
    /// Whether it is written without quotes, and not as a block.
    pub(super) is_plain: bool,
    /// Whether it stands within brackets.
    pub(super) is_flow: bool,
    /// The entry that it is the value of; `None` for the root.
    pub(super) entry: Option<usize>,
}

/// A key with its value, or an item of a sequence.
#[derive(Debug)]
struct Entry {
    /// `None` for an item.
    key: Option<String>,
    /// Of characters; an item in block style has its dash.
    range: Range<usize>,
    is_flow: bool,
    parent: Option<usize>,
}

/// A mapping or a sequence that has not ended.
struct Open {
    is_mapping: bool,
    is_flow: bool,
    /// Which entry it is the value of; `None` for the root.
    entry: Option<usize>,
    /// A key that waits for its value.
    key: Option<(String, usize)>,
    /// Whether it is a key itself, which YAML allows.
    is_key: bool,
}

impl Outline {
    /// Of the first document in `text`; `None` when that is no YAML.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut outline = Self {
            chars: text.chars().collect(),
            entries: Vec::new(),
            values: Vec::new(),
            seen: 0,
        };
        let mut open: Vec<Open> = Vec::new();
        for next in Parser::new_from_str(text) {
            let (event, span) = next.ok()?;
            match event {
                Event::MappingStart(style, ..) => outline.open(&mut open, &span, true, style),
                Event::SequenceStart(style, ..) => outline.open(&mut open, &span, false, style),
                Event::MappingEnd | Event::SequenceEnd => outline.close(&mut open, &span),
                Event::Scalar(text, style, ..) => {
                    outline.scalar(&mut open, &span, &text, style);
                }
                Event::Alias(_) => outline.scalar(&mut open, &span, "", ScalarStyle::Plain),
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        Some(outline)
    }

    fn open(&mut self, open: &mut Vec<Open>, span: &Span, is_mapping: bool, style: StructureStyle) {
        let is_key = open.last().is_some_and(|around| around.is_mapping && around.key.is_none());
        let entry = if is_key { None } else { self.begin(open, span.start.index()) };
        let is_flow = style == StructureStyle::Flow;
        open.push(Open { is_mapping, is_flow, entry, key: None, is_key });
    }

    fn close(&mut self, open: &mut Vec<Open>, span: &Span) {
        let Some(closed) = open.pop() else { return };
        if closed.is_flow {
            self.seen = span.end.index();
        }
        if closed.is_key {
            if let Some(around) = open.last_mut() {
                around.key = Some((String::new(), span.start.index()));
            }
        } else {
            self.end(open, closed.entry);
        }
    }

    fn scalar(&mut self, open: &mut [Open], span: &Span, text: &str, style: ScalarStyle) {
        // A value that is left out has no place of its own.
        let is_there = span.start.index() < span.end.index();
        let start = if is_there { span.start.index() } else { self.seen };
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let written = if is_block { self.block_before(start) } else { start };
        if is_there {
            self.seen = span.end.index();
        }
        match open.last_mut() {
            Some(around) if around.is_mapping && around.key.is_none() => {
                around.key = Some((text.to_owned(), start));
            }
            _ => {
                let entry = self.begin(open, start);
                self.end(open, entry);
                let (range, text) = (written..self.seen.max(start), text.to_owned());
                let is_plain = style == ScalarStyle::Plain;
                let is_flow = open.last().is_some_and(|around| around.is_flow);
                self.values.push(Value { range, text, is_plain, is_flow, entry });
            }
        }
    }

    /// The entry whose value begins here; `None` for the root.
    fn begin(&mut self, open: &[Open], start: usize) -> Option<usize> {
        let around = open.last()?;
        let (key, start) = match &around.key {
            Some((key, start)) => (Some(key.clone()), *start),
            None if around.is_flow => (None, start),
            None => (None, self.dash_before(start)),
        };
        let (is_flow, parent) = (around.is_flow, around.entry);
        self.entries.push(Entry { key, range: start..start, is_flow, parent });
        Some(self.entries.len() - 1)
    }

    fn end(&mut self, open: &mut [Open], entry: Option<usize>) {
        if let Some(entry) = entry {
            let range = &mut self.entries[entry].range;
            range.end = self.seen.clamp(range.start, self.chars.len());
        }
        if let Some(around) = open.last_mut() {
            around.key = None;
        }
    }

    fn dash_before(&self, start: usize) -> usize {
        let before = self.chars.get(..start).unwrap_or_default();
        let at = before.iter().rposition(|c| !c.is_whitespace());
        at.filter(|at| before[*at] == '-').unwrap_or(start)
    }

    /// Where the `|` or `>` is whose text begins at `start`; a comment may be between.
    fn block_before(&self, start: usize) -> usize {
        let before = self.chars.get(..start).unwrap_or_default();
        let last = before.iter().rposition(|c| !c.is_whitespace()).unwrap_or_default();
        let line = before[..last].iter().rposition(|c| *c == '\n').map_or(0, |at| at + 1);
        let mut header = line.max(self.seen)..start;
        header.find(|at| matches!(before[*at], '|' | '>')).unwrap_or(start)
    }

    /// The character at a line and a column, both from 1.
    pub(super) fn at(&self, line: u64, column: u64) -> Option<usize> {
        let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
        let mut start = 0;
        for _ in 1..line {
            start += 1 + self.chars.get(start..)?.iter().position(|c| *c == '\n')?;
        }
        (line > 0 && column > 0).then(|| start + column - 1)
    }

    /// The innermost entry that a character belongs to.
    pub(super) fn entry_at(&self, at: usize) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.range.contains(&at))
    }

    /// The entry around `entry`.
    pub(super) fn parent(&self, entry: usize) -> Option<usize> {
        self.entries.get(entry)?.parent
    }

    /// The characters of `entry`.
    pub(super) fn range(&self, entry: usize) -> Range<usize> {
        self.entries.get(entry).map_or(0..0, |entry| entry.range.clone())
    }

    /// The key of `entry`; empty for an item.
    pub(super) fn key(&self, entry: usize) -> &str {
        self.entries.get(entry).and_then(|entry| entry.key.as_deref()).unwrap_or_default()
    }

    /// Each scalar that is no key, in order.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    /// Whether `entry` is the value of `key`, or lies somewhere in it.
    pub(super) fn is_in(&self, entry: usize, key: &str) -> bool {
        let mut around = std::iter::successors(Some(entry), |entry| self.parent(*entry));
        around.any(|entry| self.key(entry) == key)
    }

    /// The key that `entry` stands under; empty at the top.
    pub(super) fn table(&self, entry: usize) -> &str {
        let mut at = self.parent(entry);
        while let Some(entry) = at {
            if self.entries[entry].key.is_some() {
                return self.key(entry);
            }
            at = self.parent(entry);
        }
        ""
    }

    /// Gives the value of `entry` another word, one that nobody writes, of the same length: the
    /// `n`th.
    pub(super) fn rename(&mut self, entry: usize, n: usize) {
        let range = self.range(entry);
        let name = u32::try_from(n).ok().and_then(|n| char::from_u32(0xE000 + n));
        let value = self.chars.get_mut(range).unwrap_or_default().iter_mut();
        for c in value.skip_while(|c| **c != ':').skip(1).filter(|c| !c.is_whitespace()) {
            *c = name.unwrap_or(*c);
        }
    }

    /// Writes blanks over `entry`, so that everything else stays at its place.
    pub(super) fn take_out(&mut self, entry: usize) {
        let mut range = self.range(entry);
        if self.entries.get(entry).is_some_and(|entry| entry.is_flow) {
            let after = self.chars.get(range.end..).unwrap_or_default();
            let n_blank = after.iter().take_while(|c| c.is_whitespace()).count();
            if after.get(n_blank) == Some(&',') {
                range.end += n_blank + 1;
            }
        }
        for c in self.chars.get_mut(range).unwrap_or_default() {
            *c = if matches!(*c, '\n' | '\r') { *c } else { ' ' };
        }
    }

    /// The text as it is now.
    pub(super) fn text(&self) -> String {
        self.chars.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  - c: 2 # two\n    d: [x, {e: 3, f: 4}]\n  - plain\ng: end\n";

    /// The text without the innermost entry at a place.
    fn without(line: u64, column: u64) -> String {
        let mut outline = Outline::of(TEXT).unwrap();
        let entry = outline.entry_at(outline.at(line, column).unwrap()).unwrap();
        outline.take_out(entry);
        let text = outline.text();
        assert_eq!(text.len(), TEXT.len());
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_entry_goes_and_the_rest_stays_where_it_is() {
        assert_eq!(without(1, 1), TEXT.replace("a: 1", "").trim_end());
        assert!(without(3, 5).contains("\n  -      # two\n    d: ["), "{}", without(3, 5));
        assert!(without(4, 13).contains("{      f: 4}]"), "{}", without(4, 13));
        assert!(without(4, 9).contains("d: [   {e: 3"), "{}", without(4, 9));
        assert!(without(5, 5).contains("}]\n\ng: end"), "{}", without(5, 5));
        assert!(without(3, 3).contains("b:\n\n\n  - plain\n"), "{}", without(3, 3));
        let mut outline = Outline::of(TEXT).unwrap();
        outline.rename(0, 1);
        assert!(outline.text().starts_with("a: \u{e001}\nb:\n  - c: 2"));
    }

    #[test]
    fn an_entry_knows_what_it_stands_under() {
        let outline = Outline::of(TEXT).unwrap();
        let table = |line, column| {
            let entry = outline.entry_at(outline.at(line, column).unwrap()).unwrap();
            (outline.key(entry), outline.table(entry))
        };
        assert_eq!(table(1, 4), ("a", ""));
        assert_eq!(table(3, 5), ("c", "b"));
        assert_eq!(table(4, 19), ("f", "d"));
        assert!(outline.at(99, 1).is_none() && outline.at(0, 0).is_none());
        assert!(Outline::of("a: [").is_none());
    }
}
