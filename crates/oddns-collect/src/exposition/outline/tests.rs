use super::*;

fn outline(tag: &TableTag) -> Outline {
    let mut outline = Outline::default();
    outline.begin(tag, Format::Text);
    outline.learn_comment(b"# a\n");
    outline.learn_comment(b"# b\n");
    outline.learn(b"a 1\n", 1, SeriesId(0));
    outline.learn(b"b{c=\"d\"} 1\n", 8, SeriesId(1));
    outline.learn(b"c 1\n", 1, SeriesId(2));
    outline.end();
    outline.begin(tag, Format::Text);
    outline
}

#[test]
fn the_same_text_is_known() {
    let mut outline = outline(&TableTag::default());
    assert_eq!(outline.n_parts(), 4);
    assert_eq!(outline.expected(b"# a\n# b\na 2\n"), Some(Known::Comments(8)));
    assert_eq!(outline.expected(b"a 2\n"), Some(Known::Series(SeriesId(0), 1)));
    assert_eq!(outline.expected(b"b{c=\"d\"} 2\n"), Some(Known::Series(SeriesId(1), 8)));
    assert_eq!(outline.expected(b"c 2"), Some(Known::Series(SeriesId(2), 1)));
    assert_eq!(outline.expected(b"d 2"), None);
}

#[test]
fn a_longer_series_is_another_one() {
    let tag = TableTag::default();
    for other in ["ab 1\n", "a{} 1\n", "a  {} 1\n", "a\t1\n"] {
        let mut outline = outline(&tag);
        outline.expected(b"# a\n# b\n");
        assert_eq!(outline.expected(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn series_come_and_go() {
    let mut outline = outline(&TableTag::default());
    // The comments and the first series are gone, and there is a new one.
    assert_eq!(outline.expected(b"new 1\n"), None);
    outline.learn(b"new 1\n", 3, SeriesId(7));
    assert_eq!(outline.expected(b"b{c=\"d\"} 2\n"), None);
    outline.learn(b"b{c=\"d\"} 2\n", 8, SeriesId(1));
    assert_eq!(outline.expected(b"c 2\n"), Some(Known::Series(SeriesId(2), 1)));
    outline.end();

    let valid_for = outline.valid_for.clone().unwrap();
    outline.begin(&valid_for.0, Format::Text);
    assert_eq!(outline.expected(b"new 1\n"), Some(Known::Series(SeriesId(7), 3)));
    assert_eq!(outline.expected(b"b{c=\"d\"}1\n"), Some(Known::Series(SeriesId(1), 8)));
    assert_eq!(outline.expected(b"c 3\n"), Some(Known::Series(SeriesId(2), 1)));
}

#[test]
fn a_text_that_ends_badly_leaves_no_trace() {
    let tag = TableTag::default();
    let mut outline = outline(&tag);
    outline.learn(b"x 1\n", 1, SeriesId(9));
    outline.begin(&tag, Format::Text);
    assert_eq!(outline.expected(b"# a\n# b\n"), Some(Known::Comments(8)));
}

#[test]
fn another_table_or_format_knows_nothing() {
    let tag = TableTag::default();
    let mut first = outline(&tag);
    first.begin(&tag, Format::OpenMetrics);
    assert_eq!(first.n_parts(), 0);
    let mut second = outline(&tag);
    second.begin(&TableTag::default(), Format::Text);
    assert_eq!(second.n_parts(), 0);
}

#[test]
fn endless_series_do_not_grow_it_for_ever() {
    let mut outline = Outline::default();
    outline.begin(&TableTag::default(), Format::Text);
    let line = [b"a{b=\"", &[b'x'; 1 << 20][..], b"\"} 1\n"].concat();
    for n in 0..100 {
        outline.learn(&line, line.len() - 3, SeriesId(n));
    }
    outline.end();
    assert!(outline.last.bytes.len() <= MAX_BYTES && outline.n_parts() < 16);
}
