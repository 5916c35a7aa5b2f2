//! A line chart as the numbers that its SVG needs; the template draws it.
//!
//! What is not known yet has no dot: a line with fewer counts than there are days ends early. The
//! scale's levels are whole numbers.

/// Where the plot lies in the drawing, in its units.
const LEFT: i64 = 64;
const RIGHT: i64 = 932;
const TOP: i64 = 16;
const BOTTOM: i64 = 256;
/// How many names of days fit below.
const LABELS_MAX: usize = 10;
/// With more days than this the dots are small.
const LARGE_DOTS_MAX: usize = 62;

/// A chart of several lines over the same days.
pub(super) struct Chart {
    pub(super) lines: Vec<Line>,
    pub(super) levels: Vec<Level>,
    pub(super) days: Vec<Label>,
    /// How far the days before the opt-in reach, where there are any.
    pub(super) before: Option<i64>,
    /// The radius of a dot.
    pub(super) radius: &'static str,
}

impl Chart {
    pub(super) const LEFT: i64 = LEFT;
    pub(super) const RIGHT: i64 = RIGHT;
    pub(super) const TOP: i64 = TOP;
    pub(super) const BOTTOM: i64 = BOTTOM;
}

/// One line.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// `x,y x,y …`, as SVG takes it.
    pub(super) path: String,
    pub(super) dots: Vec<Dot>,
}

/// A value on a line, with what to say of it.
pub(super) struct Dot {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) text: String,
}

/// A level of the scale.
pub(super) struct Level {
    pub(super) y: i64,
    pub(super) text: String,
}

/// The name of a day below the chart.
pub(super) struct Label {
    pub(super) x: i64,
    pub(super) text: String,
}

/// Lays out `lines` (a name and a count per day) over `days`, of which the first `before` are
/// before the opt-in.
pub(super) fn chart(days: &[String], before: usize, lines: Vec<(&'static str, Vec<i64>)>) -> Chart {
    let highest = lines.iter().flat_map(|(_, counts)| counts).copied().max().unwrap_or(0);
    let top = round_up(highest);
    let last = i64::try_from(days.len()).unwrap_or(i64::MAX).saturating_sub(1);
    let x = |day: usize| match last {
        0 => i64::midpoint(LEFT, RIGHT),
        _ => LEFT + (RIGHT - LEFT) * i64::try_from(day).unwrap_or(0).min(last) / last,
    };
    let y = |count: i64| {
        let height = i128::from(BOTTOM - TOP) * i128::from(count) / i128::from(top);
        BOTTOM - i64::try_from(height).unwrap_or(0)
    };
    let lines = lines
        .into_iter()
        .map(|(name, counts)| {
            let dots: Vec<Dot> = counts
                .iter()
                .zip(days)
                .enumerate()
                .map(|(day, (count, label))| Dot {
                    x: x(day),
                    y: y(*count),
                    text: format!("{label}: {} {name}", grouped(*count)),
                })
                .collect();
            let path: Vec<String> = dots.iter().map(|dot| format!("{},{}", dot.x, dot.y)).collect();
            Line { name, path: path.join(" "), dots }
        })
        .collect();
    let levels = (0..=4)
        .map(|quarter| top * quarter / 4)
        .map(|count| Level { y: y(count), text: short(count) })
        .collect();
    let before = (before > 0).then(|| if before < days.len() { x(before) } else { RIGHT });
    let radius = if days.len() <= LARGE_DOTS_MAX { "3.5" } else { "1.5" };
    let step = days.len().div_ceil(LABELS_MAX).max(1);
    let days = days
        .iter()
        .enumerate()
        .step_by(step)
        .map(|(day, text)| Label { x: x(day), text: text.clone() })
        .collect();
    Chart { lines, levels, days, before, radius }
}

/// The next of 4, 8, 12, 16, 20, 40, 80, 120 … that is not below `count`: its quarters are whole numbers.
fn round_up(count: i64) -> i64 {
    let mut power: i64 = 1;
    loop {
        for step in [4, 8, 12, 16, 20] {
            let top = power.saturating_mul(step);
            if top >= count || top == i64::MAX {
                return top;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// A level of the scale, short enough for the margin: from a million on, in millions.
fn short(count: i64) -> String {
    const MILLION: i64 = 1_000_000;
    match (count / MILLION, count % MILLION / (MILLION / 10)) {
        (0, _) => grouped(count),
        (millions, 0) => format!("{} M", grouped(millions)),
        (millions, tenth) => format!("{}.{tenth} M", grouped(millions)),
    }
}

/// A count with a thin space between its thousands.
pub(super) fn grouped(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut text = String::new();
    if count < 0 {
        text.push('\u{2212}');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_scales_are_round() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1\u{202f}000"),
            (-1_234_567, "−1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(grouped(count), text);
        }
        for (count, top) in
            [(0, 4), (4, 4), (5, 8), (9, 12), (21, 40), (199, 200), (201, 400), (401, 800)]
        {
            assert_eq!(round_up(count), top, "{count}");
        }
        assert_eq!(round_up(i64::MAX), i64::MAX);
        for (count, text) in [(900_000, "900\u{202f}000"), (1_000_000, "1 M"), (2_500_000, "2.5 M")]
        {
            assert_eq!(short(count), text);
        }
    }

    #[test]
    fn one_day_and_no_day_are_charts_too() {
        assert!(chart(&[], 0, vec![("sent", Vec::new())]).days.is_empty());
        let chart = chart(&["1 Nov".to_owned()], 0, vec![("sent", vec![3])]);
        assert_eq!(chart.lines[0].dots[0].text, "1 Nov: 3 sent");
        assert_eq!(chart.before, None);
    }

    #[test]
    fn lines_end_where_nothing_is_known_and_the_days_before_the_opt_in_are_marked() {
        let days: Vec<String> = (1..=5).map(|day| format!("{day} Nov")).collect();
        let of = |before| chart(&days, before, vec![("sent", vec![1, 2, 4])]);
        let dots = &of(2).lines[0].dots;
        assert_eq!(dots.iter().map(|dot| dot.y).collect::<Vec<_>>(), [196, 136, TOP]);
        assert_eq!(of(2).before, Some(dots[2].x));
        assert_eq!(of(5).before, Some(RIGHT));
    }
}
