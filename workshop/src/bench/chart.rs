//! Two kinds of chart, as SVG: lines over a logarithmic axis, and bars.
//!
//! In the style of the book's pictures: a panel of its own, readable on a light and on a dark page, with
//! letters that are still legible on a phone.

use std::fmt::Write;

/// The size of the drawing; on the page it is as wide as there is room for.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 420.0;
/// Around the lines: room for the title, the numbers, and the names at the ends of the lines.
const TOP: f64 = 70.0;
const BOTTOM: f64 = 66.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 132.0;
/// From one line of text to the next.
const LINE: f64 = 23.0;
/// One bar and its gap.
const BAR: f64 = 38.0;

/// Colours that can be told apart, also by those who see few.
const COLOURS: [&str; 8] =
    ["#8a6d00", "#b0402c", "#6b4fa0", "#1f6fb2", "#00795c", "#5a5548", "#a0308a", "#3d5a00"];

/// One line: its name, and points from left to right.
pub(super) struct Series {
    pub(super) name: String,
    /// Which of the colours. The same server has the same one in every chart.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over a logarithmic axis.
pub(super) struct Lines<'a> {
    pub(super) title: &'a str,
    /// What goes from left to right.
    pub(super) across: &'a str,
    pub(super) series: Vec<Series>,
    /// Upwards each step is ten times the last.
    pub(super) log_up: bool,
}

/// One bar: its name, its colour as in [`Series`], and how long it is.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) colour: usize,
    pub(super) value: f64,
}

/// A bar for each name.
pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) bars: Vec<Bar>,
    pub(super) log: bool,
}

/// From values to places.
struct Axis {
    log: bool,
    min: f64,
    max: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis on which all of the values have a place. A logarithmic one begins and ends at a power of
    /// ten, a linear one begins at zero.
    fn over(values: impl Iterator<Item = f64>, log: bool, from: f64, to: f64) -> Option<Self> {
        let values: Vec<_> = values.filter(|value| value.is_finite()).collect();
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = values.iter().copied().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        if log && least.is_finite() {
            let (min, max) = (least.log10().floor(), max.log10().ceil());
            let max = if max > min { max } else { min + 1.0 };
            return Some(Self { log, min: 10f64.powf(min), max: 10f64.powf(max), from, to });
        }
        (!values.is_empty()).then(|| Self { log: false, min: 0.0, max: round_up(max), from, to })
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(self.min) / self.min).log10() / (self.max / self.min).log10(),
            false => (value - self.min) / (self.max - self.min),
        };
        self.from + share * (self.to - self.from)
    }

    /// Where there is a line across.
    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return (0..=4).map(|i| self.max * f64::from(i) / 4.0).collect();
        }
        let mut ticks = vec![self.min];
        while ticks[ticks.len() - 1] * 9.0 < self.max {
            ticks.push(ticks[ticks.len() - 1] * 10.0);
        }
        ticks
    }
}

/// The next of 1, 2, 4, 5, 8, 10, 20, … : it and its quarters are short to write.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(value)
}

impl Lines<'_> {
    /// The chart, if there is anything to draw.
    pub(super) fn svg(&self) -> Option<String> {
        // A single point is no line, and its name would stand far away from it.
        let series: Vec<_> = self.series.iter().filter(|s| s.points.len() > 1).collect();
        let points = || series.iter().flat_map(|series| &series.points);
        let x = Axis::over(points().map(|p| p.0), true, LEFT, WIDTH - RIGHT)?;
        let y = Axis::over(points().map(|p| p.1), self.log_up, HEIGHT - BOTTOM, TOP)?;
        let mut svg = Svg::new(self.title, HEIGHT);
        svg.scale(&x, &y, self.across);
        let ends: Vec<_> = series.iter().map(|s| y.place(s.points[s.points.len() - 1].1)).collect();
        for (series, label) in series.iter().zip(spread_out(&ends)) {
            let places: Vec<_> =
                series.points.iter().map(|p| (x.place(p.0), y.place(p.1))).collect();
            svg.line(&places, series, label);
        }
        Some(svg.finish())
    }
}

/// Moves labels apart that would lie on one another, as little as it takes, and keeps their order.
fn spread_out(ends: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..ends.len()).collect();
    order.sort_by(|a, b| ends[*a].total_cmp(&ends[*b]));
    let mut places = ends.to_vec();
    let mut free = f64::NEG_INFINITY;
    for &i in &order {
        places[i] = places[i].max(free);
        free = places[i] + LINE;
    }
    // Those pushed over the lower edge push the others back up.
    let mut limit = HEIGHT - BOTTOM;
    for &i in order.iter().rev() {
        places[i] = places[i].min(limit);
        limit = places[i] - LINE;
    }
    places
}

impl Bars<'_> {
    /// The chart, if there is anything to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let values = self.bars.iter().map(|bar| bar.value);
        let left = RIGHT;
        let x = Axis::over(values, self.log, left, WIDTH - LEFT - 20.0)?;
        let mut svg = Svg::new(self.title, TOP + BAR * self.bars.len() as f64 + LINE);
        for (i, bar) in self.bars.iter().enumerate() {
            let width = (x.place(bar.value) - left).max(1.0);
            svg.bar((left, TOP + BAR * i as f64), width, bar);
        }
        Some(svg.finish())
    }
}

/// A drawing that grows.
struct Svg(String);

impl Svg {
    fn new(title: &str, height: f64) -> Self {
        let mut svg = Self(String::new());
        svg.put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
             aria-label=\"{title}\">\n{}",
            style()
        ));
        svg.put(&format!(
            "<rect class=\"panel\" x=\"2\" y=\"2\" width=\"{}\" height=\"{:.0}\" rx=\"14\"/>",
            WIDTH - 4.0,
            height - 4.0
        ));
        svg.text((24.0, 42.0), "title", title);
        svg
    }

    fn put(&mut self, text: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn text(&mut self, at: (f64, f64), class: &str, text: &str) {
        self.put(&format!(
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            at.0, at.1
        ));
    }

    /// The lines across, and the numbers on both axes.
    fn scale(&mut self, x: &Axis, y: &Axis, across: &str) {
        for tick in y.ticks() {
            let place = y.place(tick);
            self.put(&format!(
                "<path class=\"grid\" d=\"M{:.1} {place:.1}H{:.1}\"/>",
                x.from, x.to
            ));
            self.text((LEFT - 8.0, place + 7.0), "end", &short(tick));
        }
        for tick in x.ticks() {
            self.text((x.place(tick), HEIGHT - BOTTOM + 26.0), "middle", &short(tick));
        }
        self.text((f64::midpoint(x.from, x.to), HEIGHT - 14.0), "middle", across);
    }

    /// A line with its dots, and its name where it ends.
    fn line(&mut self, places: &[(f64, f64)], series: &Series, label: f64) {
        let points: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let class = class(series.colour);
        self.put(&format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" ")));
        for (x, y) in places {
            self.put(&format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"));
        }
        self.text((WIDTH - RIGHT + 12.0, label + 7.0), &class, &series.name);
    }

    fn bar(&mut self, (x, y): (f64, f64), width: f64, bar: &Bar) {
        let (class, height) = (class(bar.colour), BAR - 14.0);
        self.text((x - 8.0, y + 19.0), "end", &bar.name);
        self.put(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\"/>"
        ));
        self.text((x + width + 8.0, y + 19.0), "value", &short(bar.value));
    }

    fn finish(mut self) -> String {
        self.put("</svg>");
        self.0
    }
}

fn class(colour: usize) -> String {
    format!("c{}", colour % COLOURS.len())
}

fn style() -> String {
    let mut style = String::from(
        "<style>\
         text{font:20px Helvetica,Arial,'Liberation Sans',sans-serif;fill:#1d2329}\
         .panel{fill:#faf8f2;stroke:#a39d8d;stroke-width:2}\
         .title{font-size:22px;font-weight:bold}\
         .end{text-anchor:end}.middle{text-anchor:middle}\
         .grid{stroke:#a39d8d;stroke-opacity:.5}\
         polyline{stroke-width:3}",
    );
    for (i, colour) in COLOURS.iter().enumerate() {
        let _ = write!(style, ".c{i}{{fill:{colour};stroke:{colour}}}text.c{i}{{stroke:none}}");
    }
    style + "polyline[class]{fill:none}</style>"
}

/// A number as short as a chart wants it.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", trim(value / 1e6)),
        v if v >= 1e4 => format!("{}k", trim(value / 1e3)),
        _ => trim(value),
    }
}

fn trim(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 || v == 0.0 => format!("{value:.0}"),
        v if v >= 9.95 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_room_for_every_value() {
        let axis = Axis::over([3.0, 420.0].into_iter(), true, 0.0, 300.0).unwrap();
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert!((axis.place(10.0) - 100.0).abs() < 1e-9);
        let axis = Axis::over([3.0, 420.0].into_iter(), false, 0.0, 100.0).unwrap();
        assert_eq!(axis.ticks(), [0.0, 125.0, 250.0, 375.0, 500.0]);
        assert!(Axis::over([].into_iter(), true, 0.0, 1.0).is_none());
    }

    #[test]
    fn names_that_end_at_the_same_place_do_not_lie_on_one_another() {
        let mut places = spread_out(&[100.0, 101.0, 330.0, 331.0]);
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LINE), "{places:?}");
        // Nor do they leave the drawing, neither below nor above.
        assert!(places.iter().all(|place| (100.0..=HEIGHT - BOTTOM).contains(place)));
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.25, 8.0, 12.5, 140.0, 9_100.0, 10_000.0, 2_500_000.0].map(short);
        assert_eq!(all, ["0", "0.25", "8", "12.5", "140", "9100", "10k", "2.5M"]);
    }

    #[test]
    fn a_chart_is_readable_on_any_page_since_it_has_a_background_of_its_own() {
        let bars = Bars {
            title: "t",
            bars: vec![Bar { name: "a".into(), colour: 0, value: 1.0 }],
            log: false,
        };
        let svg = bars.svg().unwrap();
        assert!(svg.contains("viewBox") && svg.contains("<rect class=\"panel\""));
        assert!(Bars { title: "t", bars: vec![], log: false }.svg().is_none());
    }
}
