//! Plots of lines and bars, as SVG.

use std::fmt::Write as _;

use super::escape::escape;
use crate::report::text::units::duration;

pub(super) const PLOT_WIDTH: f64 = 960.0;
const PLOT_HEIGHT: f64 = 260.0;
pub(super) const LEFT_MARGIN: f64 = 64.0;
pub(super) const RIGHT_MARGIN: f64 = 12.0;
const TOP_MARGIN: f64 = 26.0;
const BOTTOM_MARGIN: f64 = 26.0;

/// The approximate number of ticks of a linear axis.
const TYPICAL_TICKS: f64 = 8.0;

/// The horizontal axis, with the labels of its ticks.
#[derive(Debug)]
pub(super) struct Axis {
    begin: f64,
    end: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Returns an axis with these `ticks`.
    pub(super) fn new(begin: f64, end: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { begin, end: end.max(begin + f64::MIN_POSITIVE), ticks }
    }

    /// Returns an axis with round numbers of `unit` as ticks.
    pub(super) fn linear(begin: f64, end: f64, unit: &str) -> Self {
        let ticks = round_steps(end).map(|tick| (tick, format!("{}{unit}", number(tick)))).collect();
        Self::new(begin, end, ticks)
    }

    /// Returns whether a part of the span is on the axis.
    pub(super) fn shows(&self, begin: f64, end: f64) -> bool {
        end >= self.begin && begin <= self.end
    }

    /// Appends the ticks, which begin at `bottom`, and their labels.
    pub(super) fn push_ticks(&self, svg: &mut String, bottom: f64, baseline: f64) {
        for (x, label) in &self.ticks {
            let x = self.place(*x);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {bottom}v4\"/>\
                 <text x=\"{x:.1}\" y=\"{baseline}\" text-anchor=\"middle\">{label}</text>"
            );
        }
    }

    /// Returns the horizontal place of `x`.
    pub(super) fn place(&self, x: f64) -> f64 {
        let share = (x - self.begin) / (self.end - self.begin);
        LEFT_MARGIN + share.clamp(0.0, 1.0) * (PLOT_WIDTH - LEFT_MARGIN - RIGHT_MARGIN)
    }
}

/// The vertical axis.
#[derive(Debug)]
pub(super) struct Scale {
    least: f64,
    most: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Returns a linear scale from zero, in `unit`.
    pub(super) fn linear(most: f64, unit: &str) -> Self {
        let ticks = round_steps(most).map(|tick| (tick, format!("{}{unit}", number(tick)))).collect();
        Self { least: 0.0, most: most * 1.05, is_log: false, ticks }
    }

    /// Returns a logarithmic scale of seconds.
    pub(super) fn log_seconds(least: f64, most: f64) -> Self {
        let (first, last) = (least.log10().floor(), (most * 1.01).log10().ceil());
        let decades = (0..).map(|step| first + f64::from(step)).take_while(|&decade| decade <= last);
        let ticks = decades.map(|decade| 10_f64.powf(decade)).map(|tick| (tick, duration(tick)));
        Self { least: 10_f64.powf(first), most: 10_f64.powf(last), is_log: true, ticks: ticks.collect() }
    }

    fn place(&self, y: f64) -> f64 {
        let share = if self.is_log {
            (y.max(self.least) / self.least).log10() / (self.most / self.least).log10()
        } else {
            (y - self.least) / (self.most - self.least)
        };
        PLOT_HEIGHT - BOTTOM_MARGIN - share.clamp(0.0, 1.0) * (PLOT_HEIGHT - TOP_MARGIN - BOTTOM_MARGIN)
    }
}

/// A plot of lines and bars, which are drawn one after the other.
#[derive(Debug)]
pub(super) struct Plot {
    name: &'static str,
    x: Axis,
    y: Scale,
    body: String,
    legend: Vec<(String, String)>,
}

impl Plot {
    /// Returns an empty plot.
    pub(super) const fn new(name: &'static str, x: Axis, y: Scale) -> Self {
        Self { name, x, y, body: String::new(), legend: Vec::new() }
    }

    /// Draws a line through `points`, in the colour of `class`.
    pub(super) fn line(&mut self, class: &str, name: &str, points: &[(f64, f64)]) {
        let points: Vec<_> =
            points.iter().map(|&(x, y)| format!("{:.1},{:.1}", self.x.place(x), self.y.place(y))).collect();
        let points = points.join(" ");
        let _ = writeln!(self.body, "<polyline class=\"line {class}\" points=\"{points}\"/>");
        self.legend.push((class.to_owned(), name.to_owned()));
    }

    /// Draws a horizontal line at a limit, if it lies on the scale.
    pub(super) fn level(&mut self, class: &str, name: &str, y: f64) {
        if y <= self.y.most && y >= self.y.least {
            let y = self.y.place(y);
            let right = PLOT_WIDTH - RIGHT_MARGIN;
            let _ = writeln!(self.body, "<path class=\"level\" d=\"M{LEFT_MARGIN} {y:.1}H{right}\"/>");
            self.legend.push((class.to_owned(), name.to_owned()));
        }
    }

    /// Draws a bar of the full height and of a visible width.
    pub(super) fn bar(&mut self, begin: f64, end: f64, label: &str) {
        if !self.x.shows(begin, end) {
            return;
        }
        let (left, right) = (self.x.place(begin), self.x.place(end));
        let (width, height) = ((right - left).max(1.0), PLOT_HEIGHT - TOP_MARGIN - BOTTOM_MARGIN);
        let _ = writeln!(
            self.body,
            "<rect class=\"stall\" x=\"{left:.1}\" y=\"{TOP_MARGIN}\" width=\"{width:.1}\" height=\"{height}\">\
             <title>{}</title></rect>",
            escape(label)
        );
    }

    /// Draws a dot for each of `points`, in the colour of `class`.
    pub(super) fn dots(&mut self, class: &str, name: &str, points: &[(f64, f64)]) {
        for &(x, y) in points {
            let (x, y) = (self.x.place(x), self.y.place(y));
            let _ =
                writeln!(self.body, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
        }
        self.legend.push((class.to_owned(), name.to_owned()));
    }

    /// Returns the plot as SVG.
    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {PLOT_WIDTH} {PLOT_HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            self.name
        );
        let (right, bottom) = (PLOT_WIDTH - RIGHT_MARGIN, PLOT_HEIGHT - BOTTOM_MARGIN);
        for (y, label) in &self.y.ticks {
            let y = self.y.place(*y);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT_MARGIN} {y:.1}H{right}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT_MARGIN - 8.0,
                y + 4.0
            );
        }
        self.x.push_ticks(&mut svg, bottom, PLOT_HEIGHT - 6.0);
        svg.push_str(&self.body);
        let mut x = LEFT_MARGIN;
        for (class, name) in &self.legend {
            let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.0}\" y=\"16\">{}</text>", escape(name));
            x += 24.0 + 7.0 * f64::from(u16::try_from(name.chars().count()).unwrap_or(u16::MAX));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Returns round numbers from zero to `end`.
fn round_steps(end: f64) -> impl Iterator<Item = f64> {
    let rough = (end / TYPICAL_TICKS).max(f64::MIN_POSITIVE);
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|&step| step >= rough);
    let step = step.unwrap_or(decade * 10.0);
    (0..).map(move |number| f64::from(number) * step).take_while(move |&tick| tick <= end * 1.001)
}

/// Formats a round number without rounding errors.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_end() {
        assert_eq!(round_steps(20.0).collect::<Vec<_>>(), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(round_steps(1.0).count(), 6);
        assert_eq!(number(0.2 * 3.0), "0.6");
        let labels: Vec<_> =
            Scale::log_seconds(80e-6, 1.0).ticks.into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
    }

    #[test]
    fn decades_have_equal_height_and_values_stay_in_the_plot() {
        let scale = Scale::log_seconds(1e-3, 0.9);
        let steps: Vec<_> = [1e-3, 1e-2, 1e-1, 1.0].map(|y| scale.place(y)).to_vec();
        assert!(steps.windows(2).all(|pair| (pair[0] - pair[1] - (steps[0] - steps[1])).abs() < 1e-6));
        assert!(
            (scale.place(0.0) - (PLOT_HEIGHT - BOTTOM_MARGIN)).abs() < 1e-6 && scale.place(1e9) >= TOP_MARGIN
        );
    }
}
