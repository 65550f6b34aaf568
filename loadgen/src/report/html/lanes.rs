//! A picture of spans of time: a lane for each finding, as SVG.

use std::fmt::Write as _;

use super::escape::escape;
use super::plot::{Axis, LEFT_MARGIN, PLOT_WIDTH, RIGHT_MARGIN};

/// The height of a lane with its name.
const LANE_HEIGHT: f64 = 38.0;

/// The height of the bars in a lane.
const BAR_HEIGHT: f64 = 16.0;

/// The height of the labels of the time axis.
const AXIS_HEIGHT: f64 = 26.0;

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    /// Begin and end of each span in seconds, and its description.
    pub(super) spans: Vec<(f64, f64, String)>,
}

/// Returns the picture. Its time axis is that of the plots above it.
pub(super) fn svg(label: &str, axis: &Axis, lanes: &[Lane]) -> String {
    let lane_count = u32::try_from(lanes.len()).unwrap_or(u32::MAX);
    let bottom = LANE_HEIGHT * f64::from(lane_count);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {PLOT_WIDTH} {}\" role=\"img\" aria-label=\"{}\">\n",
        bottom + AXIS_HEIGHT,
        escape(label)
    );
    for (lane, number) in lanes.iter().zip(0_u32..) {
        let top = LANE_HEIGHT * f64::from(number);
        let bar_top = top + LANE_HEIGHT - BAR_HEIGHT - 4.0;
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{LEFT_MARGIN}\" y=\"{}\">{}</text>\
             <path class=\"grid\" d=\"M{LEFT_MARGIN} {}H{}\"/>",
            top + 14.0,
            escape(&lane.name),
            top + LANE_HEIGHT - 2.0,
            PLOT_WIDTH - RIGHT_MARGIN
        );
        for (begin, end, description) in lane.spans.iter().filter(|(begin, end, _)| axis.shows(*begin, *end))
        {
            let (left, right) = (axis.place(*begin), axis.place(*end));
            let _ = writeln!(
                svg,
                "<rect class=\"span\" x=\"{left:.1}\" y=\"{bar_top}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\">\
                 <title>{}</title></rect>",
                (right - left).max(1.5),
                escape(description)
            );
        }
    }
    axis.push_ticks(&mut svg, bottom, bottom + AXIS_HEIGHT - 6.0);
    svg.push_str("</svg>\n");
    svg
}
