//! The picture of a moment: the score, and the features that moved most, over time.

use oddns::{Detector, Scored};
use oddns_core::{Incident, Timestamp};

use crate::data::Instance;
use crate::output;
use crate::picture::{Anchor, CHARACTER, Colour, LINE, Picture};

/// Rows shown on each side of the moment, …
const ROWS_AROUND: usize = 60;
/// … and on each side of its incident, …
const ROWS_ASIDE: usize = 20;
/// … but not more in all.
const MAX_ROWS: usize = 300;
/// Features shown.
const N_FEATURES: usize = 20;
/// Deviation at which colours are full: the model cuts there.
const FULL: f32 = 10.0;

/// Places in the picture, in units.
const LEFT: i32 = 200;
const WIDTH: i32 = 620;
const RIGHT: i32 = 70;
const SCORE_TOP: i32 = 44;
const SCORE_HEIGHT: i32 = 64;
const MAP_TOP: i32 = SCORE_TOP + SCORE_HEIGHT + 14;
const ROW_HEIGHT: i32 = 14;
const BELOW: i32 = 58;
/// Marks on the time axis.
const N_TIMES: usize = 6;

/// Colours of deviations from −[`FULL`] to [`FULL`] in even steps: ColorBrewer's RdBu, which people
/// who do not see red and green apart can read.
const SCALE: [Colour; 5] = [
    Colour(33, 102, 172),
    Colour(146, 197, 222),
    Colour(247, 247, 247),
    Colour(244, 165, 130),
    Colour(178, 24, 43),
];

/// What a picture is drawn of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub(crate) detector: &'a Detector,
    pub(crate) instance: &'a Instance,
    pub(crate) scored: &'a Scored,
    /// The row of the moment.
    pub(crate) at: usize,
    pub(crate) incident: Option<&'a Incident>,
}

/// Draws the moment.
pub(crate) fn draw(moment: Moment<'_>) -> Picture {
    let rows = rows(&moment);
    let features = strongest(&moment, rows.clone());
    let map = Map { moment, rows, features };
    let height = MAP_TOP + ROW_HEIGHT * map.features.len() as i32 + BELOW;
    let mut picture = Picture { size: (LEFT + WIDTH + RIGHT, height), shapes: Vec::new() };
    map.draw_title(&mut picture);
    map.draw_score(&mut picture);
    map.draw_features(&mut picture);
    map.draw_times(&mut picture);
    map.draw_moment(&mut picture);
    draw_legend(&mut picture, height - LINE - 4);
    picture
}

/// The rows shown: the incident and some on each side, or those around the moment.
fn rows(moment: &Moment<'_>) -> std::ops::Range<usize> {
    let scores = &moment.scored.scores;
    let (mut from, mut to) = (moment.at, moment.at + 1);
    let mut aside = ROWS_AROUND;
    if let Some(incident) = moment.incident {
        let end = incident.end.unwrap_or(Timestamp::from_millis(i64::MAX));
        from = from.min(scores.partition_point(|score| score.time < incident.start));
        to = to.max(scores.partition_point(|score| score.time <= end));
        aside = ROWS_ASIDE;
    }
    let half = MAX_ROWS / 2;
    from = from.saturating_sub(aside).max(moment.at.saturating_sub(half));
    from..(to + aside).min(moment.at + half).min(scores.len())
}

/// The features furthest out over the rows shown, furthest first.
fn strongest(moment: &Moment<'_>, rows: std::ops::Range<usize>) -> Vec<usize> {
    let width = moment.detector.columns().len();
    let mut energy = vec![0.0_f32; width];
    for row in rows {
        let deviations = &moment.scored.deviation[row * width..(row + 1) * width];
        energy.iter_mut().zip(deviations).for_each(|(sum, deviation)| *sum += deviation.powi(2));
    }
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| energy[*b].total_cmp(&energy[*a]));
    order.truncate(N_FEATURES);
    order
}

struct Map<'a> {
    moment: Moment<'a>,
    rows: std::ops::Range<usize>,
    features: Vec<usize>,
}

impl Map<'_> {
    /// The left edge of the n-th row shown.
    fn x(&self, n: usize) -> i32 {
        LEFT + (WIDTH as usize * n / self.rows.len().max(1)) as i32
    }

    fn centre(&self, n: usize) -> i32 {
        (self.x(n) + self.x(n + 1)) / 2
    }

    fn time(&self, n: usize) -> Timestamp {
        self.moment.scored.scores[self.rows.start + n].time
    }

    fn bottom(&self) -> i32 {
        MAP_TOP + ROW_HEIGHT * self.features.len() as i32
    }

    fn draw_title(&self, picture: &mut Picture) {
        let score = &self.moment.scored.scores[self.moment.at];
        let (day, clock) = (score.time.day(), score.time.clock());
        let name = &self.moment.instance.name;
        let title = format!("{name}  {day} {clock} UTC   score {:.2}", score.score);
        picture.add_text((8, 12), Anchor::Start, Colour::BLACK, title.trim_start());
        if let Some(incident) = self.moment.incident {
            let cause = format!("likely: {}", output::likely(&incident.cause));
            picture.add_text((8, 26), Anchor::Start, Colour::BLACK, cause);
        }
        let column = (LEFT + WIDTH + 5, MAP_TOP - 7);
        picture.add_text(column, Anchor::Start, Colour::GREY, format!("at {clock}"));
    }

    fn draw_score(&self, picture: &mut Picture) {
        let scores = &self.moment.scored.scores[self.rows.clone()];
        let highest = scores.iter().map(|score| score.score).fold(1.5, f32::max);
        let bottom = SCORE_TOP + SCORE_HEIGHT;
        let y = |score: f32| bottom - (SCORE_HEIGHT as f32 * score / highest).round() as i32;
        picture.add_line((LEFT, bottom), (LEFT + WIDTH, bottom), Colour::PALE);
        for n in 1..scores.len() {
            let (before, here) = (y(scores[n - 1].score), y(scores[n].score));
            picture.add_line((self.centre(n - 1), before), (self.centre(n), here), Colour::BLACK);
        }
        picture.add_line((LEFT, y(1.0)), (LEFT + WIDTH, y(1.0)), Colour::ALARM);
        let label = |picture: &mut Picture, score: f32, colour: Colour, text: String| {
            picture.add_text((LEFT - 5, y(score)), Anchor::End, colour, text);
        };
        label(picture, 1.0, Colour::ALARM, "alarm line  1".to_owned());
        label(picture, highest, Colour::GREY, format!("score  {highest:.1}"));
    }

    fn draw_features(&self, picture: &mut Picture) {
        for (line, feature) in self.features.iter().enumerate() {
            let top = MAP_TOP + ROW_HEIGHT * line as i32;
            self.draw_feature(picture, *feature, top);
        }
    }

    fn draw_feature(&self, picture: &mut Picture, feature: usize, top: i32) {
        let column = &self.moment.detector.columns()[feature];
        let middle = top + ROW_HEIGHT / 2;
        let label = output::shortened(&column.name, (LEFT - 10) / CHARACTER);
        picture.add_text((LEFT - 5, middle), Anchor::End, Colour::BLACK, label);
        let colours: Vec<Colour> = self.rows.clone().map(|row| self.colour(row, feature)).collect();
        let mut n = 0;
        // Neighbours of one colour are one box, or the file would be many times as large.
        for run in colours.chunk_by(|a, b| a == b) {
            let size = (self.x(n + run.len()) - self.x(n), ROW_HEIGHT - 1);
            picture.add_box((self.x(n), top), size, run[0]);
            n += run.len();
        }
        let seen = self.moment.instance.frame.row(self.moment.at)[feature];
        let value = output::of_column(seen, column);
        picture.add_text((LEFT + WIDTH + 5, middle), Anchor::Start, Colour::BLACK, value);
    }

    fn colour(&self, row: usize, feature: usize) -> Colour {
        if self.moment.instance.frame.row(row)[feature].is_nan() {
            return Colour::PALE;
        }
        let width = self.moment.detector.columns().len();
        colour(self.moment.scored.deviation[row * width + feature])
    }

    fn draw_times(&self, picture: &mut Picture) {
        let last = self.rows.len().saturating_sub(1);
        for mark in 0..N_TIMES {
            let n = last * mark / (N_TIMES - 1);
            let (x, y) = (self.centre(n), self.bottom());
            picture.add_line((x, y), (x, y + 3), Colour::GREY);
            let text = self.time(n).clock();
            picture.add_text((x, y + 10), Anchor::Middle, Colour::GREY, text);
        }
    }

    /// A line through score and features.
    fn draw_moment(&self, picture: &mut Picture) {
        let x = self.centre(self.moment.at - self.rows.start);
        picture.add_line((x, SCORE_TOP - 4), (x, self.bottom()), Colour::GREY);
    }
}

/// The colour of a deviation, between the nearest two of the scale.
fn colour(deviation: f32) -> Colour {
    // Finer steps cannot be told apart.
    let deviation = (2.0 * deviation).round() / 2.0;
    let steps = (SCALE.len() - 1) as f32;
    let place = (deviation / FULL).clamp(-1.0, 1.0).mul_add(0.5, 0.5) * steps;
    let below = (place as usize).min(SCALE.len() - 2);
    let part = place - below as f32;
    let mix = |from: u8, to: u8| {
        (f32::from(from) + part * (f32::from(to) - f32::from(from))).round() as u8
    };
    let (from, to) = (SCALE[below], SCALE[below + 1]);
    Colour(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

fn draw_legend(picture: &mut Picture, y: i32) {
    const STEPS: i32 = 40;
    const STEP: i32 = 5;
    for step in 0..STEPS {
        let deviation = FULL * (2 * step - STEPS + 1) as f32 / STEPS as f32;
        picture.add_box((LEFT + STEP * step, y - 10), (STEP, 8), colour(deviation));
    }
    for (part, text) in [(0, "-10"), (1, "-5"), (2, "0"), (3, "+5"), (4, "+10")] {
        let x = LEFT + STEP * STEPS * part / 4;
        picture.add_text((x, y + 4), Anchor::Middle, Colour::GREY, text);
    }
    let right = LEFT + STEP * STEPS + 14;
    picture.add_text((right, y - 6), Anchor::Start, Colour::BLACK, "σ from normal");
    picture.add_box((right + 90, y - 10), (10, 8), Colour::PALE);
    picture.add_text((right + 104, y - 6), Anchor::Start, Colour::BLACK, "missing");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_goes_from_blue_over_white_to_red() {
        for (deviation, expected) in
            [(-99.0, SCALE[0]), (0.0, SCALE[2]), (5.0, SCALE[3]), (10.0, SCALE[4])]
        {
            assert_eq!(colour(deviation), expected, "{deviation}");
        }
    }
}
