//! A picture of boxes, lines and text, written as SVG or PNG.

mod png;
mod svg;

use std::path::Path;

use oddns_store::write_atomically;

use crate::exit::BadUse;

/// Width that a character of text takes, and height of a line of it, in units.
pub(crate) const CHARACTER: i32 = 5;
pub(crate) const LINE: i32 = 10;

/// Red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) u8, pub(crate) u8, pub(crate) u8);

impl Colour {
    pub(crate) const WHITE: Self = Self(255, 255, 255);
    pub(crate) const BLACK: Self = Self(30, 30, 30);
    pub(crate) const GREY: Self = Self(130, 130, 130);
    pub(crate) const PALE: Self = Self(205, 205, 205);
    pub(crate) const ALARM: Self = Self(200, 60, 40);
}

/// Which end of a text its place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Something drawn; what comes later covers what was before. Coordinates are in units, from the top
/// left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Box {
        at: (i32, i32),
        size: (i32, i32),
        colour: Colour,
    },
    Line {
        from: (i32, i32),
        to: (i32, i32),
        colour: Colour,
    },
    /// `at` is the middle of the line's height.
    Text {
        at: (i32, i32),
        anchor: Anchor,
        colour: Colour,
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    pub(crate) size: (i32, i32),
    pub(crate) shapes: Vec<Shape>,
}

impl Picture {
    pub(crate) fn add_box(&mut self, at: (i32, i32), size: (i32, i32), colour: Colour) {
        self.shapes.push(Shape::Box { at, size, colour });
    }

    pub(crate) fn add_line(&mut self, from: (i32, i32), to: (i32, i32), colour: Colour) {
        self.shapes.push(Shape::Line { from, to, colour });
    }

    pub(crate) fn add_text(
        &mut self,
        at: (i32, i32),
        anchor: Anchor,
        colour: Colour,
        text: impl Into<String>,
    ) {
        self.shapes.push(Shape::Text { at, anchor, colour, text: text.into() });
    }
}

/// What a file's extension asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Svg,
    Png,
}

impl Format {
    /// By the extension of `path`, in any case.
    pub(crate) fn of(path: &Path) -> Result<Self, BadUse> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(BadUse(format!(
                "`{}` is neither an .svg nor a .png file: end its name in one of them",
                path.display()
            ))),
        }
    }

    /// Writes `picture` to `path`, whole or not at all.
    pub(crate) fn write(self, picture: &Picture, path: &Path) -> anyhow::Result<()> {
        let bytes = match self {
            Self::Svg => svg::text(picture).into_bytes(),
            Self::Png => png::bytes(picture)?,
        };
        Ok(write_atomically(path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides_and_others_are_refused() {
        assert_eq!(Format::of(Path::new("a/b.SVG")).unwrap(), Format::Svg);
        assert_eq!(Format::of(Path::new("b.png")).unwrap(), Format::Png);
        for path in ["a.jpg", "svg", "a", ""] {
            assert!(Format::of(Path::new(path)).unwrap_err().to_string().contains(".png"));
        }
    }
}
