//! The page that links the reports of several suites.

use super::{bounded, milliseconds, overview_lines};
use crate::summary::Overview;

const STYLE: &str = include_str!("report/style.css");

/// One line a suite and arm, then what all suites add up to.
pub(crate) fn render(runs: &[(String, Overview)]) -> String {
    let mut rows = String::new();
    for (name, overview) in runs {
        for (at, total) in overview.totals.iter().enumerate() {
            let ratios = total.ratios.as_ref().filter(|_| at > 0);
            let bound = if total.at_least { "≥ " } else { "" };
            let cells = [
                format!("{bound}{}", milliseconds(total.total_ms)),
                ratios.map_or_else(String::new, |own| bounded(own.of_totals, own.bound)),
                ratios.map_or_else(String::new, |own| bounded(own.geometric_mean, own.bound)),
                ratios.map_or_else(String::new, |own| {
                    let ratio = bounded(own.worst.ratio, own.worst.bound);
                    format!("{ratio} ({})", own.worst.query)
                }),
            ];
            let suite = match at {
                0 => format!(
                    "<a href=\"{}/report.html\">{}</a>, {} of {} queries the same",
                    escaped(&encoded(name)),
                    escaped(name),
                    overview.counts.same,
                    overview.counts.queries
                ),
                _ => String::new(),
            };
            let cells = cells.map(|cell| format!("<td>{}</td>", escaped(&cell)));
            rows.push_str(&format!(
                "<tr><td class=\"left\">{suite}</td><td class=\"left\">{}</td>{}</tr>\n",
                escaped(&total.arm),
                cells.concat()
            ));
        }
    }
    let together = Overview::together(runs).map_or(vec![], |all| overview_lines(&all));
    let lines: String = together
        .iter()
        .map(|line| format!("<li>{}</li>\n", escaped(line)))
        .collect();
    let together = match lines.is_empty() {
        true => String::new(),
        false => format!("<section class=\"card\"><h2>Together</h2><ul>\n{lines}</ul></section>\n"),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>joinwright, {} suites</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n\
         <header><h1>{} suites</h1></header>\n<main>\n<section class=\"card\"><div class=\"scroll\"><table>\n\
         <thead><tr><th class=\"left\">suite</th><th class=\"left\">arm</th><th>total ms</th><th>ratio</th><th>geometric mean</th>\
         <th>worst</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div></section>\n\
         {together}</main>\n</body>\n</html>\n",
        runs.len(),
        runs.len(),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

/// The name of a folder in an address.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let bytes = name.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        assert_eq!(encoded("tpch-0.1"), "tpch-0.1");
        assert_eq!(encoded("a b%"), "a%20b%25");
        assert_eq!(escaped("<b>\"&"), "&lt;b>&quot;&amp;");
    }
}
