//! Values of the catalog as SQL would show them, cut to a width.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use joinwright_stats::Value;

/// A value as SQL would show it, as far as the type of its column is known. Control characters are escaped.
pub(super) fn format_value(value: &Value, data_type: Option<&DataType>) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => (i64::try_from(*value).ok().zip(data_type))
            .and_then(|(value, data_type)| format_int(value, data_type))
            .unwrap_or_else(|| value.to_string()),
        Value::Float(value) => value.to_string(),
        Value::Decimal { unscaled, scale } => format_decimal(*unscaled, *scale),
        Value::Bytes(bytes) if bytes.is_empty() => "''".to_owned(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => printable(text),
            // A string that was cut to a bound may end within a character.
            Err(error) if error.error_len().is_none() && !is_binary(data_type) => {
                printable(&String::from_utf8_lossy(&bytes[..error.valid_up_to()])) + "…"
            }
            Err(_) => hex(bytes),
        },
    }
}

/// Bytes as a hexadecimal number.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("0x{}", digits.collect::<String>())
}

/// Text that does to a terminal what text should. Quotes and letters of all scripts stay as they are.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '"' | '\'' => out.push(sign),
            _ => out.extend(sign.escape_debug()),
        }
    }
    out
}

fn is_binary(data_type: Option<&DataType>) -> bool {
    match data_type {
        Some(DataType::Dictionary(_, values)) => is_binary(Some(values)),
        Some(data_type) => data_type.is_binary(),
        None => false,
    }
}

/// Dates and timestamps are integers in the catalog.
fn format_int(value: i64, data_type: &DataType) -> Option<String> {
    if !data_type.is_temporal() {
        return None;
    }
    let number: ArrayRef = Arc::new(Int64Array::from(vec![value]));
    // Arrow casts integers to temporal types of their own width alone.
    let array = match data_type {
        DataType::Date32 | DataType::Time32(_) => {
            cast(&cast(&number, &DataType::Int32).ok()?, data_type).ok()?
        }
        _ => cast(&number, data_type).ok()?,
    };
    let formatter = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()).ok()?;
    (!array.is_null(0))
        .then(|| formatter.value(0).try_to_string().ok())
        .flatten()
}

fn format_decimal(unscaled: i128, scale: i8) -> String {
    let Ok(digits) = usize::try_from(scale) else {
        return format!("{unscaled}e{}", -i32::from(scale));
    };
    if digits == 0 {
        return unscaled.to_string();
    }
    let sign = if unscaled < 0 { "-" } else { "" };
    let text = format!("{:0>width$}", unscaled.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = text.split_at(text.len() - digits);
    format!("{sign}{whole}.{fraction}")
}

/// The columns that a text takes on a terminal, at most: letters beyond the Near Eastern scripts may take two.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(sign: char) -> usize {
    match sign {
        // Punctuation, arrows, blocks.
        '\u{2000}'..='\u{25ff}' => 1,
        '\u{1100}'.. => 2,
        _ => 1,
    }
}

/// The text, with `…` in place of what goes beyond `most` columns.
pub(super) fn shorten(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 1;
    for sign in text.chars() {
        taken += char_width(sign);
        if taken > most {
            break;
        }
        out.push(sign);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn values_are_shown_as_in_sql() {
        let check = |value: Value, data_type: DataType, expected: &str| {
            assert_eq!(format_value(&value, Some(&data_type)), expected);
        };
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        check(Value::Int(9568), DataType::Date32, "1996-03-13");
        check(Value::Int(7), DataType::Int32, "7");
        let second = DataType::Timestamp(TimeUnit::Second, None);
        check(Value::Int(60), second.clone(), "1970-01-01T00:01:00");
        // Beyond the calendar the number is better than nothing.
        let never = i64::MAX;
        check(Value::Int(never.into()), second, &never.to_string());
        check(bytes(b"a\nb"), DataType::Utf8, "a\\nb");
        check(
            bytes("it's \"ß\" 名".as_bytes()),
            DataType::Utf8,
            "it's \"ß\" 名",
        );
        check(
            bytes(b"\x1b[31m\xe2\x80\xae"),
            DataType::Utf8,
            "\\u{1b}[31m\\u{202e}",
        );
        check(bytes(b""), DataType::Utf8, "''");
        check(bytes(b"caf\xc3"), DataType::Utf8, "caf…");
        check(bytes(b"\x00\xff"), DataType::Binary, "0x00ff");
        let decimal = |unscaled, scale| format_decimal(unscaled, scale);
        assert_eq!(decimal(-99999, 2), "-999.99");
        assert_eq!(decimal(5, 2), "0.05");
        assert_eq!(decimal(5, 0), "5");
        assert_eq!(decimal(5, -2), "5e2");
    }

    #[test]
    fn texts_are_cut_to_a_width() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
        assert_eq!(shorten("名前名前", 5), "名前…");
        assert_eq!(shorten("", 0), "");
        assert_eq!(shorten("abc", 0), "…");
    }
}
