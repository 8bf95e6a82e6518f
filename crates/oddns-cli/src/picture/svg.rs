//! A picture as SVG text.

use std::fmt::Write;

use super::{Anchor, Colour, Picture, Shape};

/// A monospaced character is 0.6 of the font's size wide, which makes five units or a little more.
const FONT: &str =
    "font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,monospace\" font-size=\"8.8\"";

pub(super) fn text(picture: &Picture) -> String {
    let (width, height) = picture.size;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" shape-rendering=\"crispEdges\" {FONT}>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        hex(Colour::WHITE)
    );
    for shape in &picture.shapes {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{}", element(shape));
    }
    out.push_str("</svg>\n");
    out
}

fn element(shape: &Shape) -> String {
    match shape {
        Shape::Box { at: (x, y), size: (width, height), colour } => format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\"/>",
            hex(*colour)
        ),
        Shape::Line { from: (x1, y1), to: (x2, y2), colour } => format!(
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{}\"/>",
            hex(*colour)
        ),
        Shape::Text { at: (x, y), anchor, colour, text } => format!(
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"{}\" fill=\"{}\">{}</text>",
            // From the middle of the line to its baseline.
            y + 3,
            word(*anchor),
            hex(*colour),
            escaped(text)
        ),
    }
}

fn word(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    }
}

fn hex(Colour(red, green, blue): Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// XML knows no control characters, not even escaped.
fn escaped(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_its_element() {
        let mut picture = Picture { size: (10, 10), shapes: Vec::new() };
        picture.add_text((1, 2), Anchor::End, Colour::BLACK, "<script>&\u{1}</text>");
        let svg = text(&picture);
        assert!(svg.contains("fill=\"#1e1e1e\">&lt;script&gt;&amp; &lt;/text&gt;</text>"), "{svg}");
    }
}
