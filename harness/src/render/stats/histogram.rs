//! A histogram as bars.
//!
//! The catalog's buckets hold equally many rows each, which is what estimates want. People want ranges of equal width, with
//! round ends; strings have no width, and keep ranges of about equally many rows.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, TimeUnit};
use joinwright_stats::{Bucket, Histogram, Value};

use super::value::{format_value, shorten, width};
use super::{WIDTH, percent};
use crate::render::{Grid, rows};

/// Bars, about.
pub(super) const BARS: usize = 24;

/// The widest name of a bar.
const LABEL: usize = 40;

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// The values it stands for.
    pub(super) label: String,
    /// Rows with one of them.
    pub(super) rows: f64,
}

/// Bars, and what their labels mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bars {
    pub(super) heading: &'static str,
    pub(super) bars: Vec<Bar>,
}

impl Bars {
    /// The bars of a histogram; none if it is empty.
    pub(super) fn of(histogram: &Histogram, data_type: Option<&DataType>) -> Self {
        let format = |value: &Value| format_value(value, data_type);
        let Clipped {
            buckets,
            lower,
            upper,
        } = Clipped::of(&histogram.buckets);
        let few = buckets.len() <= BARS && buckets.iter().all(|bucket| bucket.below < 0.5);
        let ranges = match buckets.first().map(|bucket| &bucket.upper) {
            _ if few => Some(Self::each_value(&buckets, format)),
            Some(Value::Int(_) | Value::Decimal { .. }) => {
                Whole::over(&buckets, data_type).map(|whole| whole.bars(&buckets, &format))
            }
            Some(Value::Float(_)) => Real::over(&buckets).map(|real| real.bars(&buckets)),
            _ => None,
        };
        let mut all = ranges.unwrap_or_else(|| Self::equal_depth(&buckets, format));
        let ends = buckets.first().zip(buckets.last());
        if let Some((first, last)) = ends {
            let tail = |sign: &str, value: &Value, rows: f64| Bar {
                label: format!("{sign} {}", format(value)),
                rows,
            };
            if let Some(rows) = lower {
                all.bars.insert(0, tail("<", &first.upper, rows));
            }
            if let Some(rows) = upper {
                all.bars.push(tail(">", &last.upper, rows));
            }
        }
        all
    }

    /// One bar for each of these values with its rows.
    pub(super) fn of_values(mut values: Vec<(Value, f64)>, data_type: Option<&DataType>) -> Self {
        values.sort_by(|a, b| a.0.compare(&b.0).unwrap_or(Ordering::Equal));
        let bar = |(value, rows): &(Value, f64)| Bar {
            label: format_value(value, data_type),
            rows: *rows,
        };
        Self {
            heading: "value",
            bars: values.iter().map(bar).collect(),
        }
    }

    /// One bar a value.
    fn each_value(buckets: &[Bucket], format: impl Fn(&Value) -> String) -> Self {
        let bar = |bucket: &Bucket| Bar {
            label: format(&bucket.upper),
            rows: bucket.below + bucket.equal,
        };
        Self {
            heading: "value",
            bars: buckets.iter().map(bar).collect(),
        }
    }

    /// Ranges of about equally many rows; frequent values have a bar of their own.
    fn equal_depth(buckets: &[Bucket], format: impl Fn(&Value) -> String) -> Self {
        let all: f64 = buckets.iter().map(|b| b.below + b.equal).sum();
        let depth = all / BARS as f64;
        let mut bars = Vec::new();
        let mut pending = 0.0;
        for (at, bucket) in buckets.iter().enumerate() {
            let upper = || format(&bucket.upper);
            pending += bucket.below;
            if bucket.equal >= depth {
                if pending >= 0.5 {
                    let label = format!("< {}", upper());
                    bars.push(Bar {
                        label,
                        rows: pending,
                    });
                }
                let label = format!("= {}", upper());
                bars.push(Bar {
                    label,
                    rows: bucket.equal,
                });
                pending = 0.0;
                continue;
            }
            pending += bucket.equal;
            if pending >= depth || (at + 1 == buckets.len() && pending > 0.0) {
                let label = format!("≤ {}", upper());
                bars.push(Bar {
                    label,
                    rows: pending,
                });
                pending = 0.0;
            }
        }
        Self {
            heading: "up to",
            bars,
        }
    }

    /// Draws the bars with the rows of each, as a share of `all` rows.
    pub(super) fn draw(&self, all: u64) -> String {
        let most = self.bars.iter().map(|bar| bar.rows).fold(0.0, f64::max);
        let mut lines: Vec<[String; 3]> = Vec::new();
        let mut lengths = Vec::new();
        let mut empty = 0;
        for (at, bar) in self.bars.iter().enumerate() {
            let is_empty = |bar: &Bar| bar.rows < 0.05;
            empty = if is_empty(bar) { empty + 1 } else { 0 };
            // Of a long gap, its first range and the one before its end tell enough.
            let goes_on = self.bars.get(at + 1).is_some_and(is_empty);
            match empty {
                2 if goes_on => {
                    lines.push(["⋮".to_owned(), String::new(), String::new()]);
                    lengths.push(0.0);
                    continue;
                }
                3.. if goes_on => continue,
                _ => {}
            }
            let label = shorten(&bar.label, LABEL);
            lines.push([label, rows(bar.rows), percent(bar.rows, all)]);
            lengths.push(if most > 0.0 { bar.rows / most } else { 0.0 });
        }
        let header = [self.heading, "rows", "share"];
        let taken: usize = (0..3)
            .map(|at| {
                let cells = lines.iter().map(|line| width(&line[at]));
                cells.max().unwrap_or(0).max(header[at].len())
            })
            .sum();
        // Each of four columns is padded on both sides, and they are parted by a space.
        let longest = WIDTH.saturating_sub(taken + 4 * 2 + 3);
        let rows = lines
            .into_iter()
            .zip(lengths)
            .map(|([label, rows, share], length)| vec![label, blocks(length, longest), rows, share])
            .collect();
        Grid {
            header: [self.heading, "", "rows", "share"]
                .map(str::to_owned)
                .to_vec(),
            rows,
            left: vec![0, 1],
        }
        .to_terminal()
    }
}

/// Buckets without the few values far below or above the others, which would leave all others in one bar.
struct Clipped {
    buckets: Vec<Bucket>,
    /// Rows below the first bucket's end, if any were cut off.
    lower: Option<f64>,
    /// Rows above the last one's.
    upper: Option<f64>,
}

impl Clipped {
    /// Cuts off a twentieth at either end, if that is what most of the range is for.
    fn of(buckets: &[Bucket]) -> Self {
        const CUT: f64 = 0.05;
        const FAR: f64 = 4.0;
        let rows = |buckets: &[Bucket]| buckets.iter().map(|b| b.below + b.equal).sum::<f64>();
        let number = |at: usize| buckets.get(at)?.upper.to_f64();
        let all = rows(buckets);
        let place = |share: f64| {
            let mut below = 0.0;
            let reached = buckets.iter().position(|bucket| {
                below += bucket.below + bucket.equal;
                below >= share * all
            });
            reached.unwrap_or(buckets.len().saturating_sub(1))
        };
        let (mut first, mut last) = (0, buckets.len().saturating_sub(1));
        let (low, high) = (place(CUT), place(1.0 - CUT));
        if let (Some(least), Some(low_end), Some(high_end), Some(most)) =
            (number(first), number(low), number(high), number(last))
        {
            let core = high_end - low_end;
            if core > 0.0 && most - high_end > FAR * (high_end - least).min(core * FAR) {
                last = high;
            }
            if core > 0.0 && low_end - least > FAR * core {
                first = low;
            }
        }
        let mut core = buckets.get(first..=last).unwrap_or_default().to_vec();
        let mut lower = (first > 0).then(|| rows(&buckets[..first]));
        let upper = (last + 1 < buckets.len()).then(|| rows(&buckets[last + 1..]));
        if let (Some(lower), Some(bucket)) = (&mut lower, core.first_mut()) {
            *lower += std::mem::take(&mut bucket.below);
        }
        Self {
            buckets: core,
            lower,
            upper,
        }
    }
}

/// A bar of a share of `longest` columns, to an eighth of a column. What is there at all is seen.
fn blocks(share: f64, longest: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let mut eighths = (share.clamp(0.0, 1.0) * longest as f64 * 8.0).round() as usize;
    if share > 0.0 {
        eighths = eighths.max(1);
    }
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

/// Ranges of equally many integers, or decimals of one scale.
struct Whole {
    start: i128,
    step: i128,
    count: usize,
    scale: Option<i8>,
    /// The least value and the greatest: where the names of ranges begin and end.
    bounds: (i128, i128),
    /// Ranges are named by their start alone: their last value would be all nines.
    fine: bool,
}

impl Whole {
    fn over(buckets: &[Bucket], data_type: Option<&DataType>) -> Option<Self> {
        let (first, last) = (buckets.first()?, buckets.last()?);
        let scale = match first.upper {
            Value::Decimal { scale, .. } => Some(scale),
            _ => None,
        };
        let (low, high) = (whole(&first.upper, scale)?, whole(&last.upper, scale)?);
        if !buckets.iter().all(|b| whole(&b.upper, scale).is_some()) {
            return None;
        }
        let span = high.checked_sub(low)?.checked_add(1)?;
        let least = span / BARS as i128 + i128::from(span % BARS as i128 != 0);
        let units = data_type.map(units).unwrap_or_default();
        let (start, step) = match units.iter().find(|unit| **unit <= least) {
            Some(unit) => {
                let step = (least / unit + i128::from(least % unit != 0)).checked_mul(*unit)?;
                (low.div_euclid(*unit).checked_mul(*unit)?, step)
            }
            None => {
                let step = round_step(least)?;
                (low.div_euclid(step).checked_mul(step)?, step)
            }
        };
        let count = usize::try_from(high.checked_sub(start)? / step + 1).ok()?;
        Some(Self {
            start,
            step,
            count,
            scale,
            bounds: (low, high),
            fine: units.iter().any(|unit| *unit > 1) && step > 1,
        })
    }

    fn bars(&self, buckets: &[Bucket], format: &dyn Fn(&Value) -> String) -> Bars {
        let mut rows = vec![0.0; self.count];
        let place = |value: i128| {
            let place = (value - self.start).div_euclid(self.step);
            usize::try_from(place).unwrap_or(0).min(self.count - 1)
        };
        let mut before: Option<i128> = None;
        for bucket in buckets {
            let Some(upper) = whole(&bucket.upper, self.scale) else {
                continue;
            };
            rows[place(upper)] += bucket.equal;
            match before.map(|before| before + 1) {
                Some(lower) if lower < upper => {
                    let values = (upper - lower) as f64;
                    for (at, rows) in rows
                        .iter_mut()
                        .enumerate()
                        .take(place(upper - 1) + 1)
                        .skip(place(lower))
                    {
                        let from = self.start + self.step * at as i128;
                        let shared = (from + self.step).min(upper) - from.max(lower);
                        *rows += bucket.below * shared as f64 / values;
                    }
                }
                _ => rows[place(upper)] += bucket.below,
            }
            before = Some(upper);
        }
        let label = |at: usize| {
            let value = |value| match self.scale {
                Some(scale) => format(&Value::Decimal {
                    unscaled: value,
                    scale,
                }),
                None => format(&Value::Int(value)),
            };
            let from = self.start + self.step * at as i128;
            if self.fine {
                return value(from);
            }
            let (least, most) = self.bounds;
            let (first, last) = (from.max(least), (from + self.step - 1).min(most));
            match first == last {
                true => value(first),
                false => format!("{} … {}", value(first), value(last)),
            }
        };
        let bars = rows.iter().enumerate();
        Bars {
            heading: if self.fine { "from" } else { "value" },
            bars: bars
                .map(|(at, rows)| Bar {
                    label: label(at),
                    rows: *rows,
                })
                .collect(),
        }
    }
}

fn whole(value: &Value, scale: Option<i8>) -> Option<i128> {
    match value {
        Value::Int(value) if scale.is_none() => Some(*value),
        Value::Decimal {
            unscaled,
            scale: own,
        } if scale == Some(*own) => Some(*unscaled),
        _ => None,
    }
}

/// Days, hours, minutes and seconds in the unit of a temporal type, as far as they are whole; none for other types.
fn units(data_type: &DataType) -> Vec<i128> {
    let seconds = |unit: &TimeUnit| {
        let second = match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        [86_400, 3_600, 60, 1]
            .map(|seconds| seconds * second)
            .to_vec()
    };
    match data_type {
        DataType::Date32 => vec![1],
        DataType::Date64 => vec![86_400_000],
        DataType::Timestamp(unit, _)
        | DataType::Time32(unit)
        | DataType::Time64(unit)
        | DataType::Duration(unit) => seconds(unit),
        _ => Vec::new(),
    }
}

/// What round steps begin with, times four.
const ROUND: [i128; 6] = [4, 8, 10, 16, 20, 40];

/// The smallest round number that is not below `least`.
fn round_step(least: i128) -> Option<i128> {
    let mut power = 1i128;
    loop {
        for first in ROUND {
            let step = first.checked_mul(power)?;
            if step % 4 == 0 && step / 4 >= least {
                return Some(step / 4);
            }
        }
        power = power.checked_mul(10)?;
    }
}

/// Ranges of equal width of floats.
struct Real {
    start: f64,
    step: f64,
    count: usize,
}

impl Real {
    fn over(buckets: &[Bucket]) -> Option<Self> {
        let finite = || buckets.iter().filter_map(|bucket| finite(&bucket.upper));
        let (low, high) = (finite().next()?, finite().next_back()?);
        let least = (high - low) / BARS as f64;
        if !(least.is_finite() && least >= f64::MIN_POSITIVE) {
            return None;
        }
        let power = 10f64.powf(least.log10().floor());
        let rounds = ROUND.map(|first| first as f64 / 4.0 * power);
        let step = rounds.into_iter().find(|step| *step >= least)?;
        let start = (low / step).floor() * step;
        let count = ((high - start) / step).floor() + 1.0;
        // Numbers so large that their distance is lost have no ranges.
        (count >= 1.0 && count <= 4.0 * BARS as f64 && start + step > start).then_some(Self {
            start,
            step,
            count: count as usize,
        })
    }

    /// Infinities have bars of their own.
    fn bars(&self, buckets: &[Bucket]) -> Bars {
        let mut rows = vec![0.0; self.count];
        let last = self.count - 1;
        let place = |value: f64| (((value - self.start) / self.step) as usize).min(last);
        let (mut least, mut most) = (0.0, 0.0);
        let mut before: Option<f64> = None;
        for bucket in buckets {
            let Some(upper) = finite(&bucket.upper) else {
                match bucket.upper.to_f64() {
                    Some(value) if value < 0.0 => least += bucket.equal + bucket.below,
                    _ => {
                        most += bucket.equal;
                        rows[last] += bucket.below;
                    }
                }
                continue;
            };
            rows[place(upper)] += bucket.equal;
            match before {
                Some(lower) if lower < upper => {
                    for (at, rows) in rows
                        .iter_mut()
                        .enumerate()
                        .take(place(upper) + 1)
                        .skip(place(lower))
                    {
                        let from = self.start + self.step * at as f64;
                        let shared = (from + self.step).min(upper) - from.max(lower);
                        *rows += bucket.below * (shared / (upper - lower)).clamp(0.0, 1.0);
                    }
                }
                _ => rows[place(upper)] += bucket.below,
            }
            before = Some(upper);
        }
        let label = |at: usize| self.label(self.start + self.step * at as f64);
        let ranges = rows.iter().enumerate();
        let ranges = ranges.map(|(at, rows)| Bar {
            label: label(at),
            rows: *rows,
        });
        let infinite = |label: &str, rows: f64| {
            (rows > 0.0).then(|| Bar {
                label: label.to_owned(),
                rows,
            })
        };
        let bars = infinite("-inf", least).into_iter().chain(ranges);
        Bars {
            heading: "from",
            bars: bars.chain(infinite("inf", most)).collect(),
        }
    }

    /// As many digits as the step has.
    fn label(&self, value: f64) -> String {
        let exponent = self.step.log10().floor();
        if !(-6.0..12.0).contains(&exponent) {
            return format!("{value:.3e}");
        }
        let digits = (1.0 - exponent).max(0.0) as usize;
        // Rounding leaves a negative zero in place of zero.
        let value = if value.abs() < self.step / 2.0 {
            0.0
        } else {
            value
        };
        format!("{value:.digits$}")
    }
}

fn finite(value: &Value) -> Option<f64> {
    value.to_f64().filter(|value| value.is_finite())
}

/// The value below which this share of the rows lies, as far as the ends of buckets tell.
pub(super) fn quantile(histogram: &Histogram, share: f64) -> Option<&Value> {
    let target = share * histogram.rows();
    let mut below = 0.0;
    let reached = |bucket: &&Bucket| {
        below += bucket.below + bucket.equal;
        below >= target
    };
    let found = histogram.buckets.iter().find(reached);
    found
        .or(histogram.buckets.last())
        .map(|bucket| &bucket.upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(Value, f64, f64)]) -> Histogram {
        let bucket = |(upper, below, equal): &(Value, f64, f64)| Bucket {
            upper: upper.clone(),
            below: *below,
            equal: *equal,
        };
        Histogram {
            buckets: buckets.iter().map(bucket).collect(),
            rank_error: 0.0,
        }
    }

    /// No row is lost, no line is too wide.
    fn check(histogram: &Histogram, data_type: DataType) -> Bars {
        let bars = Bars::of(histogram, Some(&data_type));
        let sum: f64 = bars.bars.iter().map(|bar| bar.rows).sum();
        let all = histogram.rows();
        assert!((sum - all).abs() <= 1e-6 * all, "{sum} of {all}");
        assert!(bars.bars.len() <= 2 * BARS, "{}", bars.bars.len());
        let text = bars.draw(all as u64);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "too wide: {line}");
        }
        bars
    }

    fn ends(bars: &Bars) -> (&str, &str, usize) {
        let (first, last) = (&bars.bars[0], &bars.bars[bars.bars.len() - 1]);
        (&first.label, &last.label, bars.bars.len())
    }

    fn ints(values: impl IntoIterator<Item = i128>) -> Histogram {
        let buckets: Vec<_> = values
            .into_iter()
            .enumerate()
            .map(|(at, value)| (Value::Int(value), if at == 0 { 0.0 } else { 90.0 }, 10.0))
            .collect();
        histogram(&buckets)
    }

    #[test]
    fn integers_have_round_ranges() {
        let bars = check(&ints((0..=256).map(|i| 1 + i * 78)), DataType::Int64);
        assert_eq!(ends(&bars), ("1 … 999", "19000 … 19969", 20));
        let whole = &bars.bars[1].rows;
        assert!((whole - 25_610.0 / 20.0).abs() < 20.0, "{whole}");
        let bars = check(&ints([1, 5, 9, 12]), DataType::Int32);
        assert_eq!(ends(&bars), ("1", "12", 12));
        // As wide as integers come.
        let bars = check(
            &ints([i64::MIN.into(), 0, u64::MAX.into()]),
            DataType::Int64,
        );
        assert!(bars.bars.len() > 5);
        let bars = check(&ints([i128::MIN, 0, i128::MAX]), DataType::Int64);
        assert_eq!(bars.heading, "up to");
    }

    #[test]
    fn temporal_ranges_begin_on_whole_units() {
        let bars = check(&ints([9568, 9600, 10_300]), DataType::Date32);
        assert_eq!(
            ends(&bars),
            ("1996-03-13 … 1996-04-12", "1998-02-24 … 1998-03-15", 24)
        );
        let day = 86_400_000_000i128;
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let bars = check(&ints([5, 11 * day, 40 * day + 77]), micros.clone());
        assert_eq!(
            ends(&bars),
            ("1970-01-01T00:00:00", "1970-02-10T00:00:00", 21)
        );
        let bars = check(&ints([7, 9 * 1_000_000]), micros);
        assert_eq!(
            (ends(&bars).0, bars.heading),
            ("1970-01-01T00:00:00", "from")
        );
    }

    #[test]
    fn decimals_and_floats() {
        let decimal = |unscaled| Value::Decimal { unscaled, scale: 2 };
        let prices = histogram(&[(decimal(99), 0.0, 1.0), (decimal(104_949), 900.0, 1.0)]);
        let bars = check(&prices, DataType::Decimal128(15, 2));
        assert_eq!(ends(&bars), ("0.99 … 49.99", "1000.00 … 1049.49", 21));

        let float = Value::Float;
        let shares = histogram(&[(float(-0.1), 0.0, 1.0), (float(0.14), 24.0, 1.0)]);
        let bars = check(&shares, DataType::Float64);
        let labels: Vec<_> = bars.bars.iter().map(|bar| bar.label.as_str()).collect();
        assert!(
            labels.contains(&"0.000") && labels.contains(&"0.100"),
            "{labels:?}"
        );
        let wild = histogram(&[
            (float(f64::NEG_INFINITY), 0.0, 3.0),
            (float(1.0), 1.0, 1.0),
            (float(1e300), 50.0, 1.0),
            (float(f64::INFINITY), 2.0, 4.0),
        ]);
        let bars = check(&wild, DataType::Float64);
        assert_eq!((ends(&bars).0, ends(&bars).1), ("-inf", "inf"));
        check(
            &histogram(&[(float(f64::MIN), 0.0, 1.0), (float(f64::MAX), 9.0, 1.0)]),
            DataType::Float64,
        );
        check(
            &histogram(&[(float(1.0), 0.0, 1.0), (float(1.0), 9.0, 0.0)]),
            DataType::Float64,
        );
        check(
            &histogram(&[(float(0.0), 0.0, 1.0), (float(5e-324), 9.0, 1.0)]),
            DataType::Float64,
        );
        check(
            &histogram(&[(float(1e16), 0.0, 1.0), (float(1e16 + 2.0), 9.0, 1.0)]),
            DataType::Float64,
        );
    }

    #[test]
    fn strings_have_ranges_of_equal_depth() {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let mut buckets: Vec<_> = (0..250)
            .map(|i| {
                (
                    text(&format!("name {i:03}")),
                    if i == 0 { 0.0 } else { 3.0 },
                    1.0,
                )
            })
            .collect();
        buckets[100].2 = 500.0;
        let bars = check(&histogram(&buckets), DataType::Utf8);
        let frequent = bars.bars.iter().find(|bar| bar.label == "= name 100");
        assert_eq!(frequent.map(|bar| bar.rows), Some(500.0));
        assert_eq!(ends(&bars).1, "≤ name 249");
        let long = "名".repeat(300);
        buckets[7].0 = text(&format!("name 006{long}"));
        check(&histogram(&buckets), DataType::Utf8);
        // Two booleans as footers tell them.
        let flags = histogram(&[
            (Value::Bool(false), 0.0, 1.0),
            (Value::Bool(true), 99.0, 0.0),
        ]);
        check(&flags, DataType::Boolean);
    }

    #[test]
    fn few_values_have_a_bar_each() {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let status = histogram(&[
            (text("F"), 0.0, 50.0),
            (text("O"), 0.0, 48.0),
            (text("P"), 0.0, 2.0),
        ]);
        let bars = check(&status, DataType::Utf8View);
        let text = bars.draw(100);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(
            lines[3].starts_with(" F ") && lines[3].ends_with("50   50.0 %"),
            "{text}"
        );
        assert!(lines[5].contains(" P ") && lines[5].contains("█"), "{text}");
        let longest = lines[3].matches('█').count();
        assert!(
            longest > 70 && lines[5].matches('█').count() <= longest / 20,
            "{text}"
        );
        let values = vec![(Value::Int(7), 1.0), (Value::Int(-3), 2.0)];
        assert_eq!(ends(&Bars::of_values(values, None)), ("-3", "7", 2));
        assert_eq!(check(&Histogram::default(), DataType::Int8).bars, []);
    }

    #[test]
    fn long_gaps_are_told_in_a_line() {
        let int = Value::Int;
        let gap = histogram(&[
            (int(0), 0.0, 10.0),
            (int(9), 5.0, 1.0),
            (int(2300), 0.0, 50.0),
        ]);
        let text = check(&gap, DataType::Int32).draw(66);
        assert_eq!(
            (text.lines().count(), text.matches('⋮').count()),
            (9, 1),
            "{text}"
        );
        assert!(
            text.contains("0 … 99 ") && text.contains(" 2300 "),
            "{text}"
        );
    }

    #[test]
    fn long_tails_have_one_bar() {
        let mut buckets: Vec<_> = (0..100)
            .map(|i| (Value::Int(i), if i == 0 { 0.0 } else { 5.0 }, 1.0))
            .collect();
        buckets.push((Value::Int(1_000_000), 3.0, 1.0));
        let bars = check(&histogram(&buckets), DataType::Int64);
        assert!(
            ends(&bars).1.starts_with("> 9") && bars.bars.len() > 15,
            "{bars:?}"
        );
        buckets.insert(0, (Value::Int(-1_000_000), 0.0, 1.0));
        let bars = check(&histogram(&buckets), DataType::Int64);
        assert!(
            ends(&bars).0.starts_with("< ") && bars.bars.len() > 15,
            "{bars:?}"
        );
    }

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let known = ints([0, 10, 20, 30]);
        let value = |share| quantile(&known, share).cloned();
        assert_eq!(value(0.0), Some(Value::Int(0)));
        assert_eq!(value(0.5), Some(Value::Int(20)));
        assert_eq!(value(1.0), Some(Value::Int(30)));
        assert_eq!(quantile(&Histogram::default(), 0.5), None);
    }
}
