//! A picture as PNG, with a bitmap font that is part of the program: no font need be installed.

use std::convert::Infallible;

use anyhow::Context;
use embedded_graphics::mono_font::iso_8859_1::FONT_10X20;
use embedded_graphics::mono_font::iso_8859_7::FONT_10X20 as GREEK;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

use super::{Anchor, CHARACTER, Colour, Picture, Shape};

/// Pixels of a unit: the font has ten pixels for a character.
const SCALE: i32 = 2;
/// Width of a line.
const STROKE: u32 = 2;

pub(super) fn bytes(picture: &Picture) -> anyhow::Result<Vec<u8>> {
    let mut pixels = Pixels::new(picture.size);
    for shape in &picture.shapes {
        let Ok(()) = draw(shape, &mut pixels);
    }
    pixels.encode().context("cannot encode the picture")
}

fn draw(shape: &Shape, on: &mut Pixels) -> Result<(), Infallible> {
    match shape {
        Shape::Box { at, size, colour } => {
            let size = Size::new(pixel(size.0).unsigned_abs(), pixel(size.1).unsigned_abs());
            on.fill_solid(&Rectangle::new(point(*at), size), rgb(*colour))
        }
        Shape::Line { from, to, colour } => Line::new(point(*from), point(*to))
            .into_styled(PrimitiveStyle::with_stroke(rgb(*colour), STROKE))
            .draw(on),
        Shape::Text { at, anchor, colour, text } => write(*at, *anchor, *colour, text, on),
    }
}

/// One character after the other, as each may need another font.
fn write(
    (x, y): (i32, i32),
    anchor: Anchor,
    colour: Colour,
    text: &str,
    on: &mut Pixels,
) -> Result<(), Infallible> {
    let width = CHARACTER * text.chars().count() as i32;
    let left = match anchor {
        Anchor::Start => x,
        Anchor::Middle => x - width / 2,
        Anchor::End => x - width,
    };
    for (at, character) in text.chars().enumerate() {
        let style = MonoTextStyle::new(font(character), rgb(colour));
        let place = point((left + CHARACTER * at as i32, y));
        let mut buffer = [0; 4];
        let character = character.encode_utf8(&mut buffer);
        Text::with_baseline(character, place, style, Baseline::Middle).draw(on)?;
    }
    Ok(())
}

fn font(character: char) -> &'static MonoFont<'static> {
    if ('α'..='ω').contains(&character) { &GREEK } else { &FONT_10X20 }
}

fn pixel(units: i32) -> i32 {
    units.saturating_mul(SCALE)
}

fn point((x, y): (i32, i32)) -> Point {
    Point::new(pixel(x), pixel(y))
}

fn rgb(Colour(red, green, blue): Colour) -> Rgb888 {
    Rgb888::new(red, green, blue)
}

/// Three bytes a pixel, row by row.
struct Pixels {
    size: Size,
    bytes: Vec<u8>,
}

impl Pixels {
    /// White all over.
    fn new((width, height): (i32, i32)) -> Self {
        let size = Size::new(pixel(width).unsigned_abs(), pixel(height).unsigned_abs());
        Self { size, bytes: vec![255; 3 * size.width as usize * size.height as usize] }
    }

    fn encode(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, self.size.width, self.size.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        writer.finish()?;
        Ok(out)
    }
}

impl OriginDimensions for Pixels {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Pixels {
    type Color = Rgb888;
    type Error = Infallible;

    /// What lies outside is not drawn.
    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if x < self.size.width && y < self.size.height {
                let first = 3 * (y as usize * self.size.width as usize + x as usize);
                self.bytes[first..first + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_there_and_what_lies_outside_is_not() {
        let mut picture = Picture { size: (20, 20), shapes: Vec::new() };
        picture.add_box((2, 3), (4, 5), Colour(1, 2, 3));
        picture.add_box((-5, 18), (100, 100), Colour(4, 5, 6));
        picture.add_line((0, 0), (-50, 1000), Colour::BLACK);
        picture.add_text((10, 10), Anchor::Middle, Colour::BLACK, "σ µ→");
        let bytes = bytes(&picture).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (40, 40));
        let at = |x: usize, y: usize| &pixels[3 * (40 * y + x)..][..3];
        assert_eq!((at(4, 6), at(11, 15)), (&[1, 2, 3][..], &[1, 2, 3][..]));
        assert_eq!((at(39, 39), at(12, 6)), (&[4, 5, 6][..], &[255; 3][..]));
    }
}
